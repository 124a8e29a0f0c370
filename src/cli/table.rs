//! The readable form of a [`Report`].

use std::fmt::Write as _;

use super::report::{Report, Side, TopToken};

/// The whole output of `run` without `--json`. Warnings go elsewhere.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, report);
    out
}

fn write_all(out: &mut String, report: &Report) -> std::fmt::Result {
    let model = &report.model;
    let mut line = format!(
        "{}: {}, {} layers × {} heads, {}",
        model.name, model.family, model.n_layers, model.n_heads, model.dtype
    );
    if !model.stored.eq_ignore_ascii_case(model.dtype) {
        write!(line, " (stored {})", model.stored)?;
    }
    if let Some(device) = model.device {
        write!(line, " on {device}")?;
    }
    if let Some(difference) = model.dtype_logit_difference {
        write!(line, ", logits within {difference:.1e} of f32")?;
    }
    writeln!(out, "{line}")?;
    writeln!(out, "{}", model.fingerprint)?;
    let read = report
        .tokens
        .get(report.position)
        .map_or_else(String::new, |token| format!(" {}", quoted(&token.text)));
    let n_tokens = report.tokens.len();
    writeln!(out, "{n_tokens} tokens, read at {}{read}", report.position)?;
    for edit in &report.edits {
        writeln!(out, "edit {edit}")?;
    }
    writeln!(out)?;
    if report.readout == "none" {
        writeln!(out, "no language-model head: no predictions")?;
    } else {
        write_top(out, &report.before, report.after.as_ref())?;
        write_answers(out, &report.before, report.after.as_ref())?;
    }
    if let Some(replay) = &report.replay {
        let verdict = if replay.agrees { "agrees" } else { "DIFFERS" };
        let diff = replay
            .max_diff
            .map_or_else(|| "∞".into(), |diff| format!("{diff:.1e}"));
        writeln!(out, "replay {verdict}, largest difference {diff}")?;
    }
    let timing = &report.timing_ms;
    write!(
        out,
        "load {:.1} ms, before {:.1} ms",
        timing.load, timing.before
    )?;
    match timing.after {
        Some(after) => writeln!(out, ", after {after:.1} ms"),
        None => writeln!(out),
    }
}

fn write_top(out: &mut String, before: &Side, after: Option<&Side>) -> std::fmt::Result {
    let cell = |side: &Side, i: usize| {
        side.top
            .get(i)
            .map_or_else(String::new, |token: &TopToken| {
                let text = pad(&quoted(&token.token), 18);
                format!(
                    "{text} {:>8}  {:>7}",
                    logit(token.logit),
                    percent(token.prob)
                )
            })
    };
    let heading = format!("{} {:>8}  {:>7}", pad("token", 18), "logit", "prob");
    if after.is_some() {
        writeln!(out, "     {} after", pad("before", 38))?;
        writeln!(out, "  #  {heading}   {heading}")?;
    } else {
        writeln!(out, "  #  {heading}")?;
    }
    let rows = before
        .top
        .len()
        .max(after.map_or(0, |after| after.top.len()));
    for i in 0..rows {
        let before = pad(&cell(before, i), 36);
        let after = after.map_or_else(String::new, |after| cell(after, i));
        let line = format!("{:>3}  {before}   {after}", i + 1);
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)
}

fn write_answers(out: &mut String, before: &Side, after: Option<&Side>) -> std::fmt::Result {
    if before.answers.is_empty() {
        return Ok(());
    }
    let after_heading = if after.is_some() {
        "after    change"
    } else {
        ""
    };
    let heading = format!(
        "{} {:>8}  {after_heading:>16}",
        pad("logit of", 18),
        "before"
    );
    writeln!(out, "{}", heading.trim_end())?;
    let mut row = |name: &str, before: Option<f32>, after: Option<Option<f32>>| {
        let mut line = format!("{} {:>8}", pad(name, 18), logit(before));
        if let Some(after) = after {
            let change = after.zip(before).map(|(after, before)| after - before);
            let change = change.map_or_else(|| "–".into(), |change| format!("{change:+.3}"));
            write!(line, "  {:>7}  {change:>8}", logit(after))?;
        }
        writeln!(out, "{line}")
    };
    for (i, answer) in before.answers.iter().enumerate() {
        let after = after.map(|after| after.answers.get(i).and_then(|answer| answer.logit));
        row(&quoted(&answer.text), answer.logit, after)?;
    }
    if before.answers.len() > 1 {
        row(
            "difference",
            before.logit_diff,
            after.map(|after| after.logit_diff),
        )?;
    }
    writeln!(out)
}

/// With its spaces to be seen, and control characters escaped.
fn quoted(text: &str) -> String {
    format!(
        "`{}`",
        text.escape_debug()
            .to_string()
            .replace("\\\"", "\"")
            .replace("\\'", "'")
    )
}

fn logit(value: Option<f32>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.3}"))
}

fn percent(value: Option<f32>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{:.2} %", value * 100.0))
}

/// Width by characters: `format!` pads that way too, but cannot cut.
fn pad(text: &str, width: usize) -> String {
    let n_chars = text.chars().count();
    if n_chars <= width {
        return format!("{text}{}", " ".repeat(width - n_chars));
    }
    let mut cut: String = text.chars().take(width - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_padded_by_characters() {
        assert_eq!(pad("ünï", 5), "ünï  ");
        assert_eq!(pad("abcdef", 5), "abcd…");
        assert_eq!(quoted(" a\n\"b'"), "` a\\n\"b'`");
    }
}
