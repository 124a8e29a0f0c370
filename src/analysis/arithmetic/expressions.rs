//! Arithmetic prompts: 36 templates over four operations in three styles, each with a counterfactual whose operator is
//! replaced by a word that means none (Zhang et al. 2024, arXiv 2409.01659, section 3; the wording is our own).

use std::ops::RangeInclusive;

use crate::analysis::field::Choose;
use crate::analysis::sequences::followed;
use crate::model::tokenizer::Tokenizer;
use crate::prompt::BosRule;
use crate::task::{Answer, Item, Span};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Style {
    /// `3 + 4 =`
    Equation,
    /// `3 plus 4 equals to`
    Statement,
    /// `Q: What is the sum of 3 and 4? A:`
    Question,
}

/// An operand pair in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expression {
    pub operation: Operation,
    /// The template, from 0.
    pub frame: usize,
    pub a: u32,
    pub b: u32,
}

/// What stands for an operation: its sign, its verb, two nouns.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    Sign,
    Verb,
    Noun,
    Result,
}

/// Templates: `{A}`, `{B}` the operands, `{O}` the operator's word with what follows it; the equals part last.
pub(super) const FRAMES: [(Style, Word, &str, &str); 9] = [
    (Style::Equation, Word::Sign, "{A} {O} {B} ", "="),
    (Style::Equation, Word::Sign, "{A}{O}{B} ", "="),
    (Style::Equation, Word::Sign, "({A} {O} {B}) ", "="),
    (Style::Statement, Word::Verb, "{A} {O} {B} ", "equals to"),
    (
        Style::Statement,
        Word::Noun,
        "The {O} of {A} and {B} ",
        "is",
    ),
    (Style::Statement, Word::Verb, "{A} {O} {B} ", "is"),
    (
        Style::Question,
        Word::Result,
        "Q: What is the {O} of {A} and {B}? A:",
        "",
    ),
    (
        Style::Question,
        Word::Verb,
        "Q: What is {A} {O} {B}? A:",
        "",
    ),
    (
        Style::Question,
        Word::Verb,
        "Question: {A} {O} {B} makes what? Answer:",
        "",
    ),
];

impl Operation {
    pub const ALL: [Self; 4] = [Self::Add, Self::Subtract, Self::Multiply, Self::Divide];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Subtract => "subtract",
            Self::Multiply => "multiply",
            Self::Divide => "divide",
        }
    }

    /// The result; `None` where it is negative or no whole number.
    pub fn of(self, a: u32, b: u32) -> Option<u32> {
        match self {
            Self::Add => a.checked_add(b),
            Self::Subtract => a.checked_sub(b),
            Self::Multiply => a.checked_mul(b),
            Self::Divide => (b > 0 && a.is_multiple_of(b)).then(|| a / b),
        }
    }

    /// The word that is replaced, and what stays behind it.
    const fn word(self, kind: Word) -> (&'static str, &'static str) {
        match (kind, self) {
            (Word::Sign, Self::Add) => ("+", ""),
            (Word::Sign, Self::Subtract) => ("-", ""),
            (Word::Sign, Self::Multiply) => ("*", ""),
            (Word::Sign, Self::Divide) => ("/", ""),
            (Word::Verb, Self::Add) => ("plus", ""),
            (Word::Verb, Self::Subtract) => ("minus", ""),
            (Word::Verb, Self::Multiply) => ("times", ""),
            (Word::Verb, Self::Divide) => ("divided", " by"),
            (Word::Noun, Self::Add) => ("addition", ""),
            (Word::Noun, Self::Subtract) => ("subtraction", ""),
            (Word::Noun, Self::Multiply) => ("multiplication", ""),
            (Word::Noun, Self::Divide) => ("division", ""),
            (Word::Result, Self::Add) => ("sum", ""),
            (Word::Result, Self::Subtract) => ("difference", ""),
            (Word::Result, Self::Multiply) => ("product", ""),
            (Word::Result, Self::Divide) => ("quotient", ""),
        }
    }
}

impl Style {
    pub const ALL: [Self; 3] = [Self::Equation, Self::Statement, Self::Question];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Equation => "equation",
            Self::Statement => "statement",
            Self::Question => "question",
        }
    }
}

/// Something with a few kinds, each with a name.
pub trait Kind: Copy + std::fmt::Debug + 'static {
    const KINDS: &'static [Self];

    fn called(self) -> &'static str;
}

impl Kind for Operation {
    const KINDS: &'static [Self] = &Self::ALL;

    fn called(self) -> &'static str {
        self.name()
    }
}

impl Kind for Style {
    const KINDS: &'static [Self] = &Self::ALL;

    fn called(self) -> &'static str {
        self.name()
    }
}

/// One kind, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Only<T>(pub Option<T>);

impl<T: Kind> Only<T> {
    pub fn all(self) -> Vec<T> {
        self.0.map_or(T::KINDS.to_vec(), |one| vec![one])
    }

    pub fn name(self) -> &'static str {
        self.0.map_or("all", T::called)
    }
}

impl<T: Kind> Choose for Only<T> {
    fn options(&self) -> Vec<&'static str> {
        let kinds = T::KINDS.iter().map(|kind| kind.called());
        std::iter::once("all").chain(kinds).collect()
    }

    fn chosen(&self) -> &'static str {
        self.name()
    }

    fn choose(&mut self, name: &str) -> bool {
        let kind = T::KINDS.iter().copied().find(|kind| kind.called() == name);
        let is_known = kind.is_some() || name == "all";
        if is_known {
            *self = Self(kind);
        }
        is_known
    }
}

/// Every expression of these operations and styles with operands in these ranges that has a result.
pub fn expressions(
    operations: &[Operation],
    styles: &[Style],
    of_a: RangeInclusive<u32>,
    of_b: RangeInclusive<u32>,
) -> Vec<Expression> {
    let mut found = vec![];
    for (frame, (style, ..)) in FRAMES.iter().enumerate() {
        for operation in operations.iter().filter(|_| styles.contains(style)) {
            let pairs = of_a.clone().flat_map(|a| of_b.clone().map(move |b| (a, b)));
            for (a, b) in pairs {
                let expression = Expression {
                    operation: *operation,
                    frame,
                    a,
                    b,
                };
                found.extend(expression.result().map(|_| expression));
            }
        }
    }
    found
}

impl Expression {
    pub fn result(&self) -> Option<u32> {
        self.operation.of(self.a, self.b)
    }

    pub const fn style(&self) -> Style {
        FRAMES[self.frame].0
    }

    /// The text, with places named `A`, `B`, `operator` and `equals`; `null` stands in the operator's place.
    fn written(&self, null: Option<&str>) -> (String, Vec<Span>) {
        let (_, kind, frame, equals) = FRAMES[self.frame];
        let (word, behind) = self.operation.word(kind);
        let (mut text, mut spans, mut rest) = (String::new(), vec![], frame);
        let mut name = |text: &mut String, name: &str, word: &str| {
            let start = text.len();
            text.push_str(word);
            spans.push(Span {
                name: name.into(),
                bytes: start..text.len(),
            });
        };
        while let Some(at) = rest.find('{') {
            text.push_str(&rest[..at]);
            match &rest[at..at + 3] {
                "{A}" => name(&mut text, "A", &self.a.to_string()),
                "{B}" => name(&mut text, "B", &self.b.to_string()),
                _ => {
                    name(&mut text, "operator", null.unwrap_or(word));
                    text.push_str(behind);
                }
            }
            rest = &rest[at + 3..];
        }
        text.push_str(rest);
        if !equals.is_empty() {
            name(&mut text, "equals", equals);
        }
        (text, spans)
    }

    /// The item behind solved ones, for a model: a result of one token, and the first of the null words that leaves as
    /// many tokens. The solved ones lose their operator in the contrast too, or it could be copied from them.
    pub fn item(
        &self,
        solved: &[Self],
        nulls: &[String],
        tokenizer: &Tokenizer,
        bos: BosRule,
    ) -> Result<Item, Missing> {
        let whole = |null: Option<&str>| -> Option<(String, Vec<Span>)> {
            let mut ahead = String::new();
            for other in solved {
                let (text, _) = other.written(null);
                ahead += &[&text, " ", &other.result()?.to_string(), "\n"].concat();
            }
            let (text, mut spans) = self.written(null);
            for span in &mut spans {
                span.bytes = span.bytes.start + ahead.len()..span.bytes.end + ahead.len();
            }
            Some((ahead + &text, spans))
        };
        let (text, spans) = whole(None).ok_or(Missing::Answer)?;
        let result = self.result().ok_or(Missing::Answer)?.to_string();
        let (prompt, answer, _) =
            followed(tokenizer, &text, &result, bos).ok_or(Missing::Answer)?;
        let end = &prompt[text.len()..];
        let count = |text: &str| tokenizer.encode(text, bos).ok().map(|ids| ids.len());
        let own = count(&prompt);
        let contrast = nulls
            .iter()
            .filter_map(|null| whole(Some(null)))
            .map(|(text, _)| text + end)
            .find(|text| count(text) == own);
        Ok(Item {
            contrast: Some(contrast.ok_or(Missing::Null)?),
            prompt,
            answers: vec![Answer::Text(answer)],
            wrong: vec![],
            spans,
        })
    }
}

/// Why an expression is no item of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The result is not one token.
    Answer,
    /// No null word leaves the number of tokens as it is.
    Null,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};

    #[test]
    fn there_are_36_templates_and_their_places_are_right() {
        let all = expressions(&Operation::ALL, &Style::ALL, 1..=9, 1..=9);
        let mut templates: Vec<_> = all.iter().map(|e| (e.frame, e.operation)).collect();
        templates.dedup();
        templates.sort_unstable();
        templates.dedup();
        assert_eq!(templates.len(), 36);
        for expression in &all {
            let (text, spans) = expression.written(None);
            let of = |name: &str| {
                let span = spans.iter().find(|span| span.name == name).unwrap();
                &text[span.bytes.clone()]
            };
            assert_eq!(of("A"), expression.a.to_string());
            assert_eq!(of("B"), expression.b.to_string());
            let (null, _) = expression.written(Some("nothing"));
            assert_eq!(text.replacen(of("operator"), "nothing", 1), null);
        }
        // 81 sums, 45 differences, 81 products, 23 whole quotients, nine times each.
        assert_eq!(all.len(), (81 + 45 + 81 + 23) * 9);
        assert_eq!(Operation::Subtract.of(3, 4), None);
        assert_eq!(
            (Operation::Divide.of(6, 3), Operation::Divide.of(6, 0)),
            (Some(2), None)
        );
    }

    #[test]
    fn an_item_has_a_contrast_of_as_many_tokens() {
        let model = open(demo::NAME, &mut Unreported).unwrap();
        let tokenizer = model.tokenizer.as_ref().unwrap();
        let of = |a, b| Expression {
            operation: Operation::Add,
            frame: 0,
            a,
            b,
        };
        let nulls = ["no such word".to_owned(), "=".to_owned()];
        let item = |expression: Expression, solved: &[Expression], nulls: &[String]| {
            expression.item(solved, nulls, tokenizer, BosRule::Auto)
        };
        let found = item(of(3, 4), &[of(2, 2)], &nulls).unwrap();
        assert_eq!(found.prompt, "2 + 2 = 4\n3 + 4 =");
        assert_eq!(found.contrast.as_deref(), Some("2 = 2 = 4\n3 = 4 ="));
        assert_eq!(found.answers, [Answer::Text(" 7".into())]);
        assert_eq!(
            (found.span("A"), found.span("operator")),
            (Some("3"), Some("+"))
        );
        assert_eq!(item(of(3, 4), &[], &nulls[..1]), Err(Missing::Null));
        // Three digits are two tokens of this model.
        assert_eq!(item(of(99, 99), &[], &nulls), Err(Missing::Answer));
    }

    #[test]
    fn one_kind_or_all_are_chosen_by_name() {
        let mut style = Only::<Style>(None);
        assert_eq!(
            style.options(),
            ["all", "equation", "statement", "question"]
        );
        assert_eq!((style.chosen(), style.all().len()), ("all", 3));
        assert!(style.choose("question"));
        assert_eq!(style.all(), [Style::Question]);
        assert!(!style.choose("verse"), "unknown, and left as it is");
        assert_eq!(style.chosen(), "question");
        assert!(style.choose("all") && style == Only(None));
    }
}
