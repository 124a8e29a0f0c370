//! Plain pairs: `[{"input", "output"}]` of ericwtodd/function_vectors, `[[prompt, answer]]` of jmerullo/circuit_reuse,
//! and tables or JSON lists with `prompt`, `answer` and, where wanted, `wrong` and `contrast`.

use rand::Rng as _;
use serde_json::Value;

use super::super::draw::Rng;
use super::super::prompt::Prompt;
use super::super::{Answer, Draw, FormatError, Item, Place, TaskSet};
use super::entry::{Entry, kind};
use super::table::Table;

const PAIRS: &str = "input/output pairs";
const PROMPTS: &str = "prompts with answers";
const LABELLED: &str = "[prompt, answer] pairs";

/// Questions `Q: x\nA:` with an answer that follows a space, after `shots` solved ones drawn from the other pairs.
pub(super) fn decode_json(
    list: &[Value],
    name: &str,
    options: &Draw,
) -> Result<TaskSet, FormatError> {
    super::check_count(PAIRS, list.len())?;
    let mut pairs = Vec::with_capacity(list.len());
    for (i, value) in list.iter().enumerate() {
        let entry = Entry::at(PAIRS, i, value)?;
        pairs.push((
            entry.filled_text("input")?.trim(),
            entry.filled_text("output")?.trim(),
        ));
    }
    let shots = options.shots.min(pairs.len() - 1).min(MAX_SHOTS);
    let bytes: usize = pairs
        .iter()
        .map(|(input, output)| input.len() + output.len())
        .sum();
    super::check_bytes(PAIRS, bytes.saturating_mul(shots + 1))?;
    let mut rng = options.rng();
    let items = (0..pairs.len()).map(|query| {
        let mut prompt = Prompt::new();
        for other in others(&mut rng, pairs.len(), query, shots) {
            let (input, output) = pairs[other];
            prompt = prompt.text(&format!("Q: {input}\nA: {output}\n\n"));
        }
        let (input, output) = pairs[query];
        let prompt = prompt.text("Q: ").word("query", input).text("\nA:");
        Item {
            contrast: None,
            ..prompt.item(Prompt::new(), vec![Answer::spaced(output)], Vec::new())
        }
    });
    let mut set = super::set(name, items.collect());
    if shots < options.shots {
        set.notes.push(format!(
            "{} solved examples were asked for; {shots} are given",
            options.shots
        ));
    }
    Ok(set)
}

/// More solved examples than this make prompts that no model holds.
const MAX_SHOTS: usize = 64;

/// `n` different numbers below `len`, none of them `query`.
fn others(rng: &mut Rng, len: usize, query: usize, n: usize) -> Vec<usize> {
    let mut chosen = Vec::with_capacity(n);
    while chosen.len() < n {
        // Floyd's way: each step adds one number, so that no draw is ever repeated.
        let last = len - 1 - n + chosen.len();
        let drawn = rng.random_range(0..=last);
        chosen.push(if chosen.contains(&drawn) { last } else { drawn });
    }
    chosen
        .into_iter()
        .map(|at| at + usize::from(at >= query))
        .collect()
}

pub(super) fn is_header(table: &Table<'_>) -> bool {
    table.has("prompt") || table.has("answer")
}

/// A table with the header `prompt,answer[,wrong][,contrast]`. Answers are taken as written; see [`given`].
pub(super) fn decode_table(table: &Table<'_>, name: &str) -> Result<TaskSet, FormatError> {
    table.require(PROMPTS, "prompt")?;
    table.require(PROMPTS, "answer")?;
    let mut items = Vec::new();
    for row in table.rows(PROMPTS) {
        let row = row?;
        let filled = |column| {
            row.get(column)
                .filter(|text: &&str| !text.trim().is_empty())
        };
        let prompt = row.filled("prompt")?;
        items.push(Item {
            prompt: prompt.to_owned(),
            contrast: filled("contrast").map(str::to_owned),
            answers: vec![given(prompt, row.filled("answer")?)],
            wrong: filled("wrong")
                .map(|wrong| given(prompt, wrong))
                .into_iter()
                .collect(),
            spans: Vec::new(),
        });
        super::check_count(PROMPTS, items.len())?;
    }
    super::check_count(PROMPTS, items.len())?;
    Ok(super::set(name, items))
}

/// A JSON list of objects with the columns of the table as keys; answers may also be lists and token ids.
pub(super) fn decode_prompts(list: &[Value], name: &str) -> Result<TaskSet, FormatError> {
    super::check_count(PROMPTS, list.len())?;
    let item = |(i, value): (usize, &Value)| {
        let entry = Entry::at(PROMPTS, i, value)?;
        let prompt = entry.filled_text("prompt")?;
        let given = |answers: Vec<Answer>| {
            answers.into_iter().map(|answer| match answer {
                Answer::Text(text) => given(prompt, &text),
                id @ Answer::Id(_) => id,
            })
        };
        Ok(Item {
            prompt: prompt.to_owned(),
            contrast: entry.optional_text("contrast")?.map(str::to_owned),
            answers: given(entry.some_answers("answer")?).collect(),
            wrong: given(entry.answers("wrong")?).collect(),
            spans: Vec::new(),
        })
    };
    let items: Result<Vec<_>, _> = list.iter().enumerate().map(item).collect();
    Ok(super::set(name, items?))
}

/// A JSON list of `[prompt, answer]`.
pub(super) fn decode_labelled(list: &[Value], name: &str) -> Result<TaskSet, FormatError> {
    super::check_count(LABELLED, list.len())?;
    let item = |(i, value): (usize, &Value)| match value.as_array().map(Vec::as_slice) {
        Some([Value::String(prompt), Value::String(answer)])
            if !prompt.trim().is_empty() && !answer.is_empty() =>
        {
            Ok(Item {
                prompt: prompt.clone(),
                answers: vec![given(prompt, answer)],
                ..Item::default()
            })
        }
        other => Err(FormatError::Key {
            format: LABELLED,
            place: Place::Entry(i + 1),
            key: "entry".into(),
            found: other.map_or(kind(value).into(), |list| {
                format!("a list of {}", list.len())
            }),
            expected: "two texts, prompt and answer".into(),
        }),
    };
    let items: Result<Vec<_>, _> = list.iter().enumerate().map(item).collect();
    Ok(super::set(name, items?))
}

/// An answer as written. Spreadsheets and people lose the space before it: it is added where the prompt ends in a
/// letter, digit or colon, unless the two are meant to join (a digit after a digit).
fn given(prompt: &str, answer: &str) -> Answer {
    let (last, first) = (prompt.chars().next_back(), answer.chars().next());
    let joins =
        last.is_some_and(|c| c.is_ascii_digit()) && first.is_some_and(|c| c.is_ascii_digit());
    let needs = last.is_some_and(|c| c.is_alphanumeric() || c == ':') && !joins;
    Answer::Text(if needs {
        super::after_space(answer)
    } else {
        answer.to_owned()
    })
}
