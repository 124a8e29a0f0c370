//! The readable form of a [`Report`].

use std::fmt::Write as _;

use super::generate::{self, Step, Text};
use super::report::{ModelReport, Report, Side, TopToken};

/// The whole output of `run` without `--json`. Warnings go elsewhere.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, report);
    out
}

/// The whole output of `generate` without `--json`.
pub(super) fn generated(report: &generate::Report) -> String {
    let mut out = String::new();
    let _ = write_generated(&mut out, report);
    out
}

/// The model in a line.
pub(super) fn model_line(model: &ModelReport) -> String {
    let mut line = format!(
        "{}: {}, {} layers × {} heads, {}",
        model.name, model.family, model.n_layers, model.n_heads, model.dtype
    );
    if !model.stored.eq_ignore_ascii_case(model.dtype) {
        line = format!("{line} (stored {})", model.stored);
    }
    if let Some(device) = model.device {
        line = format!("{line} on {device}");
    }
    if let Some(difference) = model.dtype_logit_difference {
        line = format!("{line}, logits within {difference:.1e} of f32");
    }
    line
}

fn write_model(out: &mut String, model: &ModelReport) -> std::fmt::Result {
    writeln!(out, "{}", model_line(model))?;
    writeln!(out, "{}", model.fingerprint)
}

fn write_all(out: &mut String, report: &Report) -> std::fmt::Result {
    write_model(out, &report.head.model)?;
    let read = report
        .head
        .tokens
        .get(report.position)
        .map_or_else(String::new, |token| format!(" {}", quoted(&token.text)));
    let n_tokens = report.head.tokens.len();
    writeln!(out, "{n_tokens} tokens, read at {}{read}", report.position)?;
    for edit in &report.head.edits {
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

fn write_generated(out: &mut String, report: &generate::Report) -> std::fmt::Result {
    let generate::Report { before, after, .. } = report;
    write_model(out, &report.head.model)?;
    let n_tokens = report.head.tokens.len();
    let last = report.head.tokens.last().map_or_else(String::new, |token| {
        format!(", after {}", quoted(&token.text))
    });
    writeln!(out, "{n_tokens} tokens{last}")?;
    for edit in &report.head.edits {
        writeln!(out, "edit {edit}")?;
    }
    writeln!(out)?;
    let texts = [("before", Some(before)), ("after", after.as_ref())];
    for (name, text) in texts {
        if let Some(text) = text {
            let name = if after.is_some() { name } else { "text" };
            writeln!(out, "{} {}", pad(name, 6), quoted(&text.text))?;
        }
    }
    writeln!(out)?;
    write_steps(out, before, after.as_ref())?;
    for (name, text) in texts {
        let Some(text) = text else { continue };
        if text.end == "end_of_text" {
            let of = if after.is_some() {
                format!("{name}: ")
            } else {
                String::new()
            };
            let count = text.tokens.len();
            writeln!(out, "{of}the model ended the text at its token {count}")?;
        }
    }
    if after.is_some() {
        match report.parts_at {
            Some(index) => writeln!(out, "the texts part at position {index}")?,
            None => writeln!(out, "the texts are the same")?,
        }
    }
    let timing = &report.timing_ms;
    write!(out, "load {:.1} ms", timing.load)?;
    for (name, millis) in [("before", timing.before), ("after", timing.after)] {
        if let Some(millis) = millis {
            write!(out, ", {name} {millis:.1} ms a token")?;
        }
    }
    writeln!(out)
}

/// A row a step, of both texts side by side.
fn write_steps(out: &mut String, before: &Text, after: Option<&Text>) -> std::fmt::Result {
    let cell = |text: &Text, i: usize| {
        text.tokens.get(i).map_or_else(String::new, |step: &Step| {
            scored(&step.text, step.logit, step.prob)
        })
    };
    let rows = before
        .tokens
        .len()
        .max(after.map_or(0, |after| after.tokens.len()));
    let first = before.tokens.first().map_or(0, |step| step.index);
    side_by_side(out, after.is_some(), first, rows, |i| {
        (cell(before, i), after.map(|after| cell(after, i)))
    })
}

/// A table of tokens, one column or two, its rows numbered from `first`.
fn side_by_side(
    out: &mut String,
    two: bool,
    first: usize,
    rows: usize,
    row: impl Fn(usize) -> (String, Option<String>),
) -> std::fmt::Result {
    let heading = format!("{} {:>8}  {:>7}", pad("token", 18), "logit", "prob");
    if two {
        writeln!(out, "     {} after", pad("before", 38))?;
        writeln!(out, "  #  {heading}   {heading}")?;
    } else {
        writeln!(out, "  #  {heading}")?;
    }
    for i in 0..rows {
        let (before, after) = row(i);
        let line = format!(
            "{:>3}  {}   {}",
            first + i,
            pad(&before, 36),
            after.unwrap_or_default()
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)
}

fn scored(token: &str, value: Option<f32>, prob: Option<f32>) -> String {
    let token = pad(&quoted(token), 18);
    format!("{token} {:>8}  {:>7}", logit(value), percent(prob))
}

fn write_top(out: &mut String, before: &Side, after: Option<&Side>) -> std::fmt::Result {
    let cell = |side: &Side, i: usize| {
        side.top
            .get(i)
            .map_or_else(String::new, |token: &TopToken| {
                scored(&token.token, token.logit, token.prob)
            })
    };
    let rows = before
        .top
        .len()
        .max(after.map_or(0, |after| after.top.len()));
    side_by_side(out, after.is_some(), 1, rows, |i| {
        (cell(before, i), after.map(|after| cell(after, i)))
    })
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
    value.map_or_else(
        || "–".into(),
        |value| match value * 100.0 {
            // As wide as the others.
            all if all >= 99.995 => "100.0 %".into(),
            percent => format!("{percent:.2} %"),
        },
    )
}

/// Rows in columns as wide as their widest cell, up to a limit; the first row is the heading.
pub(super) fn cells(rows: &[Vec<String>]) -> String {
    const WIDEST: usize = 40;
    let n = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let of = |row: &Vec<String>| row.get(column).map_or(0, |cell| cell.chars().count());
        rows.iter().map(of).max().unwrap_or(0).min(WIDEST)
    };
    let widths: Vec<usize> = (0..n).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let last = row.len().saturating_sub(1);
        let mut line = String::from("  ");
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Nothing stands after the last cell, so it need not be cut.
            line.push_str(&if i == last {
                cell.clone()
            } else {
                pad(cell, *width)
            });
            line.push_str("  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
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
        assert_eq!(
            [0.99994, 0.999_96].map(|p| percent(Some(p))),
            ["99.99 %", "100.0 %"]
        );
        let rows = [["a", "bc"], ["def", "g"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(cells(&rows), "  a    bc\n  def  g\n");
        assert_eq!(quoted(" a\n\"b'"), "` a\\n\"b'`");
    }
}
