//! Ordered lists of words as a model's single tokens: what a successor head moves along (Gould et al. 2023, arXiv
//! 2312.09230, section 2; the lists and their forms are those of its reproduction).

use crate::analysis::AnalysisError;
use crate::model::Model;
use crate::model::tokenizer::Tokenizer;
use crate::prompt::BosRule;

/// Words in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    pub name: String,
    pub items: Vec<String>,
    /// Whether the first follows the last.
    pub is_cyclic: bool,
    /// Whether another capital would make other words of them (letters, Roman numerals).
    pub keeps_case: bool,
}

/// One form of a sequence, as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    pub name: String,
    pub form: String,
    /// The items, in order; the first again at the end of a cycle.
    pub texts: Vec<String>,
    /// `None` where the model has several tokens for it.
    pub tokens: Vec<Option<u32>>,
}

impl Sequence {
    fn new(name: &str, items: &str) -> Self {
        Self {
            name: name.to_owned(),
            items: items.split_whitespace().map(str::to_owned).collect(),
            is_cyclic: false,
            keeps_case: false,
        }
    }

    /// A list as typed, with commas between its items.
    pub fn typed(text: &str) -> Result<Self, AnalysisError> {
        let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
        if items.len() < 2 || items.iter().any(String::is_empty) {
            return Err(AnalysisError::needs(
                "a sequence is a list of words in order, with commas between them: `red, orange, yellow`",
            ));
        }
        Ok(Self {
            items,
            ..Self::new("typed", "")
        })
    }

    /// The item's index as a number: its own value where it is one, else its place, from 1.
    pub fn index(&self, at: usize) -> usize {
        let own = self.items.get(at).and_then(|item| item.parse().ok());
        own.unwrap_or(at + 1)
    }
}

impl Variant {
    /// Tokens that follow one another, `(from, to)`, as places in [`Self::tokens`].
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        (1..self.tokens.len())
            .filter(|i| self.tokens[i - 1].is_some() && self.tokens[*i].is_some())
            .map(|i| (i - 1, i))
            .collect()
    }

    pub fn label(&self) -> String {
        format!("{} ({})", self.name, self.form)
    }
}

/// The nine lists of the paper's reproduction. Where the tokenizer splits numbers, they are the digits 0 to 9.
pub fn built_in(tokenizer: &Tokenizer) -> Vec<Sequence> {
    let splits = single(tokenizer, "10").is_none() && single(tokenizer, " 10").is_none();
    let numbers = if splits { 0..=9 } else { 1..=200 };
    let numbers: Vec<String> = numbers.map(|n: usize| n.to_string()).collect();
    let cyclic = |sequence: Sequence| Sequence {
        is_cyclic: true,
        ..sequence
    };
    let cased = |sequence: Sequence| Sequence {
        keeps_case: true,
        ..sequence
    };
    let new = Sequence::new;
    vec![
        new("numbers", &numbers.join(" ")),
        new(
            "number words",
            "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen \
             eighteen nineteen twenty",
        ),
        new(
            "ordinals",
            "first second third fourth fifth sixth seventh eighth ninth tenth",
        ),
        cyclic(days()),
        new("day prefixes", "Mon Tue Wed Thu Fri Sat Sun"),
        cyclic(new(
            "months",
            "January February March April May June July August September October November December",
        )),
        new(
            "month prefixes",
            "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
        ),
        cased(new(
            "letters",
            "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z",
        )),
        cased(new(
            "Roman numerals",
            "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX",
        )),
    ]
}

pub fn days() -> Sequence {
    Sequence::new(
        "days",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    )
}

/// The token of a text that is one token, at the beginning of a text. One that stands for any unknown word is none.
pub fn single(tokenizer: &Tokenizer, text: &str) -> Option<u32> {
    let ids = tokenizer.encode(text, BosRule::Never).ok()?;
    let [id] = ids[..] else { return None };
    let pieces = tokenizer.pieces(&ids);
    // Some vocabularies know no capitals, and some keep the space to themselves.
    let is_the_text = pieces[0].text.trim().to_lowercase() == text.trim().to_lowercase();
    is_the_text.then_some(id)
}

/// Each list with and without a space before its items, as it is and with the other initial capital; forms that come out
/// as the same tokens count once.
pub fn variants(model: &Model, sequences: &[Sequence]) -> Result<Vec<Variant>, AnalysisError> {
    let tokenizer = tokenizer(model)?;
    let mut variants: Vec<Variant> = Vec::new();
    for sequence in sequences {
        let first_own = variants.len();
        for is_flipped in [false, true] {
            if is_flipped && sequence.keeps_case {
                continue;
            }
            for space in ["", " "] {
                let around = sequence.items.first().filter(|_| sequence.is_cyclic);
                let items = sequence.items.iter().chain(around);
                let texts: Vec<String> = items
                    .map(|item| {
                        let flipped = is_flipped.then(|| flipped(item));
                        format!("{space}{}", flipped.as_ref().unwrap_or(item))
                    })
                    .collect();
                let of = |text: &String| {
                    single(tokenizer, text).filter(|id| (*id as usize) < model.spec.n_vocab)
                };
                let tokens: Vec<_> = texts.iter().map(of).collect();
                let known = variants[first_own..].iter();
                if known.into_iter().any(|other| other.tokens == tokens) {
                    continue;
                }
                let initial = texts.first().and_then(|text| text.trim().chars().next());
                let form = match initial {
                    Some(c) if c.is_uppercase() => "capital",
                    Some(c) if c.is_lowercase() => "small",
                    _ => "plain",
                };
                let spaced = if space.is_empty() { "" } else { ", space" };
                variants.push(Variant {
                    name: sequence.name.clone(),
                    form: format!("{form}{spaced}"),
                    texts,
                    tokens,
                });
            }
        }
    }
    Ok(variants)
}

pub fn tokenizer(model: &Model) -> Result<&Tokenizer, AnalysisError> {
    model.tokenizer.as_ref().ok_or_else(|| {
        AnalysisError::needs(
            "the lists and prompts of this method are text, and the model has no tokenizer: put its tokenizer.json beside \
             the weights",
        )
    })
}

/// With the other initial capital.
fn flipped(word: &str) -> String {
    let mut letters = word.chars();
    let Some(first) = letters.next() else {
        return String::new();
    };
    let first: String = if first.is_uppercase() {
        first.to_lowercase().collect()
    } else {
        first.to_uppercase().collect()
    };
    first + letters.as_str()
}

/// A prompt that is followed by an answer of one token: ` 7` where the tokenizer has the space with the word, else `7`
/// behind a prompt that ends with the space. `None` where neither is one token.
pub fn followed(
    tokenizer: &Tokenizer,
    prompt: &str,
    word: &str,
    bos: BosRule,
) -> Option<(String, String, u32)> {
    let forms = [
        (prompt.to_owned(), format!(" {word}")),
        (format!("{prompt} "), word.to_owned()),
    ];
    forms.into_iter().find_map(|(prompt, answer)| {
        let before = tokenizer.encode(&prompt, bos).ok()?;
        let whole = tokenizer.encode(&format!("{prompt}{answer}"), bos).ok()?;
        // A tokenizer may put a token behind the text as well; then nothing follows.
        match whole.strip_prefix(&before[..])? {
            [id] => Some((prompt, answer, *id)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};

    #[test]
    fn lists_are_tokens_in_order_and_pairs_need_both() {
        let model = open(demo::NAME, &mut Unreported).unwrap();
        let lists = built_in(tokenizer(&model).unwrap());
        assert_eq!(lists.len(), 9);
        let variants = variants(&model, &lists).unwrap();
        let days = variants
            .iter()
            .find(|v| v.name == "days" && v.form == "capital, space")
            .unwrap();
        assert_eq!(days.texts.len(), 8, "the first again");
        assert_eq!(days.tokens[0], days.tokens[7]);
        assert_eq!(days.pairs().len(), 7);
        for (from, id) in days.tokens.iter().enumerate() {
            assert_eq!(model.token_text(id.unwrap()), days.texts[from]);
        }
        // Two digits at most are one token of this model.
        let numbers = variants.iter().find(|v| v.name == "numbers").unwrap();
        assert_eq!(numbers.tokens[..99].iter().flatten().count(), 99);
        assert!(numbers.tokens[99..].iter().all(Option::is_none));
        assert_eq!(numbers.pairs().len(), 98);
        let numbers = variants.iter().filter(|v| v.name == "numbers").count();
        assert_eq!(numbers, 2, "numbers have no capitals");
        let letters = variants.iter().filter(|v| v.name == "letters");
        assert!(letters.clone().all(|v| v.form.starts_with("capital")));
        assert_eq!(letters.count(), 2);
    }

    #[test]
    fn an_answer_is_one_token_behind_its_prompt() {
        let model = open(demo::NAME, &mut Unreported).unwrap();
        let tokenizer = tokenizer(&model).unwrap();
        let (prompt, answer, id) =
            followed(tokenizer, "Monday Tuesday", "Wednesday", BosRule::Auto).unwrap();
        assert_eq!((&prompt[..], &answer[..]), ("Monday Tuesday", " Wednesday"));
        assert_eq!(model.token_text(id), " Wednesday");
        assert!(followed(tokenizer, "Monday", "Unwordlike", BosRule::Auto).is_none());
    }

    #[test]
    fn a_word_that_the_vocabulary_lacks_is_no_token() {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = format!("{root}/tests/fixtures/models/tiny-bert");
        let model = open(&path, &mut Unreported).unwrap();
        let tokenizer = model.tokenizer.as_ref().unwrap();
        // Capitals are not known, which is no other word.
        for known in ["dog", " dog", "Dog"] {
            assert_eq!(single(tokenizer, known), Some(12), "{known}");
        }
        let unknown = tokenizer.encode("§", BosRule::Never).unwrap();
        assert_eq!(
            unknown.len(),
            1,
            "it is one token, which stands for any word"
        );
        assert_eq!(single(tokenizer, "§"), None);
    }

    #[test]
    fn a_typed_list_has_words() {
        let list = Sequence::typed("red, orange,yellow").unwrap();
        assert_eq!(list.items, ["red", "orange", "yellow"]);
        assert_eq!((list.index(0), list.index(2)), (1, 3));
        assert_eq!(Sequence::new("n", "7 8").index(1), 8);
        for text in ["", "red", "red,,blue"] {
            assert!(Sequence::typed(text).is_err(), "{text}");
        }
        assert_eq!(
            (flipped("Mon"), flipped("mon")),
            ("mon".into(), "Mon".into())
        );
    }
}
