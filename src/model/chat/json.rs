//! `tojson` as chat templates know it: Python's `json.dumps` with `ensure_ascii=False`. Jinja's own filter would write
//! `<` as `\u003c`, and ours pays for what it writes before it is written.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Lists in lists; Python has a limit too.
const MAX_DEPTH: usize = 100;

const MAX_INDENT: usize = 16;

/// The filter `tojson`, with `indent` as a number of spaces. What else Python takes is refused by name.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the renderer's filters take them so"
)]
pub(super) fn filter(
    state: &State<'_, '_>,
    value: &Value,
    options: Kwargs,
) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // What is done in any case may be asked for.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    if indent.is_some_and(|indent| indent > MAX_INDENT) {
        let what = format!("tojson with an indent above {MAX_INDENT}");
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    let mut writer = Writer {
        state,
        indent,
        text: String::new(),
    };
    writer.value(value, 0)?;
    Ok(writer.text)
}

struct Writer<'a, 'b, 'c> {
    state: &'a State<'b, 'c>,
    indent: Option<usize>,
    text: String,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let bad = |what| Error::new(ErrorKind::InvalidOperation, what);
        if depth > MAX_DEPTH {
            return Err(bad("tojson of lists in lists without end"));
        }
        let n_bytes = value.as_str().map_or(0, str::len) + self.indent.unwrap_or(0) * depth;
        self.state.consume_fuel(1 + n_bytes as u64 / 64)?;
        match value.kind() {
            ValueKind::Undefined => return Err(bad("tojson of a value that is not defined")),
            ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self
                .text
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.text.push_str(&value.to_string()),
            ValueKind::String => self.string(value)?,
            ValueKind::Map => {
                let mut keys = value.try_iter()?.peekable();
                let is_empty = keys.peek().is_none();
                self.text.push('{');
                for (i, key) in keys.enumerate() {
                    self.before(i, depth + 1);
                    self.string(&key)?;
                    self.text.push_str(": ");
                    self.value(&value.get_item(&key)?, depth + 1)?;
                }
                self.close('}', is_empty, depth);
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let mut items = value.try_iter()?.peekable();
                let is_empty = items.peek().is_none();
                self.text.push('[');
                for (i, item) in items.enumerate() {
                    self.before(i, depth + 1);
                    self.value(&item, depth + 1)?;
                }
                self.close(']', is_empty, depth);
            }
            _ => return Err(bad("tojson of a value that JSON has no form for")),
        }
        Ok(())
    }

    fn string(&mut self, value: &Value) -> Result<(), Error> {
        let text = value.to_string();
        let quoted = serde_json::to_string(&text);
        self.text.push_str(&quoted.map_err(|error| {
            Error::new(ErrorKind::InvalidOperation, "tojson").with_source(error)
        })?);
        Ok(())
    }

    /// What stands before the element of a number.
    fn before(&mut self, i: usize, depth: usize) {
        match (i, self.indent) {
            (0, None) => {}
            (_, None) => self.text.push_str(", "),
            (0, Some(_)) => self.line(depth),
            (_, Some(_)) => {
                self.text.push(',');
                self.line(depth);
            }
        }
    }

    fn close(&mut self, bracket: char, is_empty: bool, depth: usize) {
        if self.indent.is_some() && !is_empty {
            self.line(depth);
        }
        self.text.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        self.text.push('\n');
        let n = self.indent.unwrap_or(0) * depth;
        self.text.extend(std::iter::repeat_n(' ', n));
    }
}
