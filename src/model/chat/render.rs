//! The environment that chat templates are rendered in, after `transformers` (`utils/chat_template_utils.py`): blocks
//! trimmed, loop controls, Python's methods of strings and maps, `raise_exception`, `tojson`, `{% generation %}`.
//!
//! `strftime_now` is not there: templates that look whether it is take their fixed date, so that a prompt is the same
//! tomorrow. A template comes with a file from anywhere, so its steps, its memory and its output are bounded.

use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::thread::Builder;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::{ChatError, ChatTemplate, Message, json};
use crate::panics::catch;

/// What a template may do: steps, or 64 bytes of what it makes for each.
const FUEL: u64 = 50_000;

/// The same for each byte of the messages: they may be copied some times.
const FUEL_A_BYTE: f64 = 0.25;

/// Blocks in blocks; a macro counts for some.
const MAX_RECURSION: usize = 100;

/// The renderer goes down into expressions and values one call a level. A template of the largest size, or one that
/// makes lists in lists for all its fuel, stays below a quarter of this.
const STACK_BYTES: usize = 64 << 20;

pub(super) const MAX_OUTPUT_BYTES: usize = 1 << 20;

/// Real templates take milliseconds.
const MAX_TIME: Duration = Duration::from_secs(5);

pub(super) fn render(
    template: &ChatTemplate,
    messages: &[Message],
    add_generation_prompt: bool,
) -> Result<String, ChatError> {
    render_within(template, messages, add_generation_prompt, MAX_TIME)
}

/// Renders in a thread of its own, for its stack. One that has not ended after `most` is left alone: fuel does not see how
/// long the text of lists is that share their parts, which can be beyond all time.
pub(super) fn render_within(
    template: &ChatTemplate,
    messages: &[Message],
    add_generation_prompt: bool,
    most: Duration,
) -> Result<String, ChatError> {
    let (sender, receiver) = sync_channel(1);
    let (its_template, messages) = (template.clone(), messages.to_vec());
    let work = move || {
        let rendered = catch(|| render_here(&its_template, &messages, add_generation_prompt));
        // Nobody waits any longer: nobody wants it.
        let _ = sender.send(rendered);
    };
    let failed = |problem: String| ChatError::Failed {
        line: 1,
        problem,
        place: template.place.clone(),
    };
    Builder::new()
        .name("chat template".into())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|error| failed(format!("there is no thread for it: {error}")))?;
    match receiver.recv_timeout(most) {
        Ok(rendered) => rendered.unwrap_or_else(|panic| Err(failed(panic))),
        Err(_) => Err(ChatError::Runaway {
            place: template.place.clone(),
        }),
    }
}

fn render_here(
    template: &ChatTemplate,
    messages: &[Message],
    add_generation_prompt: bool,
) -> Result<String, ChatError> {
    let n_bytes: usize = messages.iter().map(|message| message.content.len()).sum();
    let fuel = FUEL + (n_bytes as f64 * FUEL_A_BYTE) as u64;
    let source = unmarked(&template.source);
    let environment = environment(fuel);
    let compiled = environment
        .template_from_named_str("chat", &source)
        .map_err(|error| failure(template, &error))?;
    let of = |message: &Message| {
        context! { role => message.role.name(), content => message.content.as_str() }
    };
    // There are no tools and documents, and templates look whether they are none.
    let variables = context! {
        messages => messages.iter().map(of).collect::<Value>(),
        tools => (),
        documents => (),
        add_generation_prompt,
        ..Value::from(template.specials.clone())
    };
    let mut output = Output(String::new());
    compiled
        .render_captured_to(variables, &mut output)
        .map_err(|error| failure(template, &error))?;
    Ok(output.0)
}

fn environment(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    if let Ok(syntax) = syntax.build() {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(method);
    environment.set_fuel(Some(fuel));
    environment.set_recursion_limit(MAX_RECURSION);
    environment.add_filter("tojson", json::filter);
    environment.add_function(
        "raise_exception",
        |reason: String| -> Result<Value, Error> {
            let error = Error::new(ErrorKind::InvalidOperation, "raise_exception");
            Err(error.with_source(Refusal(reason)))
        },
    );
    environment
}

/// Python's methods, but for those that fuel does not bound: `format`, and what writes or compares lists in lists.
fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let is_bounded = match (value.kind(), name) {
        (_, "format") => false,
        (ValueKind::String, "join") => arguments.iter().all(are_strings),
        (ValueKind::String | ValueKind::Map, _) => true,
        _ => false,
    };
    if is_bounded {
        unknown_method_callback(state, value, name, arguments)
    } else {
        Err(ErrorKind::UnknownMethod.into())
    }
}

/// As in Python, `join` takes nothing else.
fn are_strings(list: &Value) -> bool {
    list.try_iter()
        .is_ok_and(|mut items| items.all(|item| item.as_str().is_some()))
}

/// What a template raised.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// A text that may not grow without end.
struct Output(String);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // The renderer writes whole strings.
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.push_str(text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The template without the tags that mark what an assistant said, for training: a block that is always rendered.
fn unmarked(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((from, to)) = tag(rest) {
        let inner = &rest[from + 2..to - 2];
        let word = match inner.trim_matches(['-', '+']).trim() {
            "generation" => Some(("generation", "if true")),
            "endgeneration" => Some(("endgeneration", "endif")),
            _ => None,
        };
        text.push_str(&rest[..from]);
        match word {
            Some((word, plain)) => text.push_str(&rest[from..to].replace(word, plain)),
            None => text.push_str(&rest[from..to]),
        }
        rest = &rest[to..];
    }
    text + rest
}

/// The bytes of the first `{% … %}`.
fn tag(text: &str) -> Option<(usize, usize)> {
    let from = text.find("{%")?;
    let n = text[from..].find("%}")?;
    Some((from, from + n + 2))
}

/// What went wrong, of all that a renderer's error says.
fn failure(template: &ChatTemplate, error: &Error) -> ChatError {
    let place = template.place.clone();
    let line = error.line().unwrap_or(1);
    let mut problem = String::new();
    let mut inner: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = inner {
        if let Some(Refusal(reason)) = cause.downcast_ref() {
            let reason = reason.clone();
            return ChatError::Refused { reason, place };
        }
        problem = match cause.downcast_ref::<Error>() {
            Some(error) => {
                let detail = error.detail().unwrap_or_default();
                match error.kind() {
                    ErrorKind::OutOfFuel => return ChatError::Endless { place },
                    ErrorKind::WriteFailure => return ChatError::TooLong { place },
                    ErrorKind::UnknownFunction if detail.contains("strftime_now") => {
                        return ChatError::Dated { place };
                    }
                    kind if detail.is_empty() => kind.to_string(),
                    kind => format!("{kind}: {detail}"),
                }
            }
            None => cause.to_string(),
        };
        inner = cause.source();
    }
    if error.kind() == ErrorKind::SyntaxError {
        ChatError::Syntax {
            line,
            problem,
            place,
        }
    } else {
        ChatError::Failed {
            line,
            problem,
            place,
        }
    }
}
