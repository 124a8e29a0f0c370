//! JSON of francescortu/comp-mech: facts redefined in the prompt, `[{"prompt", "target_true", "target_new", …}]`.

use serde_json::Value;

use super::super::{Answer, FormatError, Item, Span, TaskSet};
use super::entry::Entry;

const FORMAT: &str = "counterfactual JSON";

/// The answer is what the prompt says; wrong is what the model remembers.
pub(super) fn decode(list: &[Value], name: &str) -> Result<TaskSet, FormatError> {
    super::check_count(FORMAT, list.len())?;
    let items = list
        .iter()
        .enumerate()
        .map(|(i, value)| item(&Entry::at(FORMAT, i, value)?));
    Ok(super::set(name, items.collect::<Result<Vec<_>, _>>()?))
}

fn item(entry: &Entry<'_>) -> Result<Item, FormatError> {
    let prompt = entry.filled_text("prompt")?;
    let new = super::after_space(entry.filled_text("target_new")?);
    let old = super::after_space(entry.filled_text("target_true")?);
    if new == old {
        return Err(entry.error("target_new", "the same as `target_true`", "another word"));
    }
    let place = entry
        .optional_text("template")?
        .and_then(|template| object_place(template, prompt, &new));
    let contrast = place.map(|at| [&prompt[..at], &old, &prompt[at + new.len()..]].concat());
    let spans = place.map(|at| {
        let space = new.len() - new.trim_start().len();
        Span {
            name: "object".into(),
            bytes: at + space..at + new.len(),
        }
    });
    Ok(Item {
        prompt: prompt.to_owned(),
        contrast,
        answers: vec![Answer::Text(new)],
        wrong: vec![Answer::Text(old)],
        spans: spans.into_iter().collect(),
    })
}

/// Where the prompt says the new object: the second `{}` of the template. None if the two do not fit.
fn object_place(template: &str, prompt: &str, new: &str) -> Option<usize> {
    let mut parts = template.splitn(3, "{}");
    let (before, between, after) = (parts.next()?, parts.next()?, parts.next()?);
    let head = prompt.strip_suffix(after)?.strip_suffix(new)?;
    let fits = head.starts_with(before)
        && head.ends_with(between)
        && head.len() >= before.len() + between.len();
    fits.then_some(head.len())
}
