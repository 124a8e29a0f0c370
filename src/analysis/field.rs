//! Settings as fields with names: what the window's form and the command line's options are made from, so that both ask
//! for the same things in the same words.

use std::ops::RangeInclusive;

use crate::edit::{Edit, Op, Positions, Target};
use crate::ids::HeadId;

/// One setting of a method.
#[derive(Debug)]
pub struct Field<'a> {
    /// As the command line has it, without dashes.
    pub name: &'static str,
    pub help: &'static str,
    pub value: Value<'a>,
}

/// What a setting holds.
#[derive(Debug)]
pub enum Value<'a> {
    Count(&'a mut usize, RangeInclusive<usize>),
    /// `None` leaves it to the method.
    MaybeCount(&'a mut Option<usize>, RangeInclusive<usize>),
    Seed(&'a mut u64),
    Text(&'a mut String),
    Number(&'a mut f64, RangeInclusive<f64>),
    Flag(&'a mut bool),
    Choice(&'a mut dyn Choose),
    /// An operation on a head, such as `zero`.
    Op(&'a mut Op),
    Positions(&'a mut Positions),
    /// Heads separated by commas; none leaves it to the method.
    Heads(&'a mut Vec<HeadId>),
}

/// One of a few named values.
pub trait Choose: std::fmt::Debug {
    fn options(&self) -> Vec<&'static str>;
    fn chosen(&self) -> &'static str;
    /// False where there is no such name.
    fn choose(&mut self, name: &str) -> bool;
}

/// Makes an enum with `ALL` and `name` one of a few named values.
#[macro_export]
macro_rules! choose {
    ($($of:ty),+) => {$(
        impl $crate::analysis::field::Choose for $of {
            fn options(&self) -> Vec<&'static str> {
                Self::ALL.iter().map(|value| value.name()).collect()
            }

            fn chosen(&self) -> &'static str {
                self.name()
            }

            fn choose(&mut self, name: &str) -> bool {
                let found = Self::ALL.into_iter().find(|value| value.name() == name);
                found.is_some_and(|found| {
                    *self = found;
                    true
                })
            }
        }
    )+};
}

/// Operations that a form offers; the command line takes any.
pub const OPS: [&str; 5] = ["zero", "zero_keep_bias", "mean", "resample", "uniform"];

impl<'a> Field<'a> {
    pub const fn new(name: &'static str, help: &'static str, value: Value<'a>) -> Self {
        Self { name, help, value }
    }

    /// The value as it is written.
    pub fn text(&self) -> String {
        match &self.value {
            Value::Count(value, _) => value.to_string(),
            Value::MaybeCount(value, _) => value.map_or_else(|| "auto".into(), |n| n.to_string()),
            Value::Seed(value) => value.to_string(),
            Value::Text(value) => (*value).clone(),
            Value::Number(value, _) => value.to_string(),
            Value::Flag(value) => value.to_string(),
            Value::Choice(value) => value.chosen().to_owned(),
            Value::Op(op) => op_text(op),
            Value::Positions(Positions::All) => "all".into(),
            Value::Positions(at) => at.to_string()[1..].to_owned(),
            Value::Heads(heads) => {
                let heads: Vec<String> = heads.iter().map(HeadId::to_string).collect();
                heads.join(",")
            }
        }
    }

    /// Reads what is written; the error says what it may be.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let text = text.trim();
        let count = |range: &RangeInclusive<usize>| {
            let known = text.parse().ok().filter(|n| range.contains(n));
            known.ok_or_else(|| format!("a whole number from {} to {}", range.start(), range.end()))
        };
        let read: Result<(), String> = match &mut self.value {
            Value::Count(value, range) => count(range).map(|n| **value = n),
            Value::MaybeCount(value, _) if text == "auto" => {
                **value = None;
                Ok(())
            }
            Value::MaybeCount(value, range) => count(range)
                .map(|n| **value = Some(n))
                .map_err(|error| format!("auto, or {error}")),
            Value::Seed(value) => text
                .parse()
                .map(|n| **value = n)
                .map_err(|_err| "a whole number from 0".into()),
            Value::Text(value) => {
                text.clone_into(value);
                Ok(())
            }
            Value::Number(value, range) => {
                let known = text.parse().ok().filter(|x| range.contains(x));
                known
                    .map(|x| **value = x)
                    .ok_or_else(|| format!("a number from {} to {}", range.start(), range.end()))
            }
            Value::Flag(value) => text
                .parse()
                .map(|on| **value = on)
                .map_err(|_err| "true or false".into()),
            Value::Choice(value) => {
                let known = value.choose(text);
                known
                    .then_some(())
                    .ok_or_else(|| format!("one of {}", value.options().join(", ")))
            }
            Value::Op(value) => read_op(text).map(|op| **value = op),
            Value::Positions(value) => read_positions(text).map(|at| **value = at),
            Value::Heads(value) => text
                .split(',')
                .filter(|head| !head.trim().is_empty())
                .map(|head| head.parse().map_err(|error| format!("heads, and {error}")))
                .collect::<Result<_, _>>()
                .map(|heads| **value = heads),
        };
        read.map_err(|expected| format!("{} is {expected}; found `{text}`", self.name))
    }
}

/// An operation without its target.
pub fn op_text(op: &Op) -> String {
    let text = Edit::new(Target::Head(HeadId::new(0, 0)), op.clone()).to_string();
    text.split_once('=')
        .map_or_else(|| text.clone(), |(_, op)| op.to_owned())
}

fn read_op(text: &str) -> Result<Op, String> {
    let edit = format!("L0H0={text}").parse::<Edit>();
    match edit {
        Ok(edit) if edit.at == Positions::All => Ok(edit.op),
        Ok(_) => Err("an operation without positions".into()),
        Err(error) => Err(format!(
            "an operation such as {}: {}",
            OPS.join(", "),
            error.reason
        )),
    }
}

fn read_positions(text: &str) -> Result<Positions, String> {
    if text == "all" {
        return Ok(Positions::All);
    }
    let edit = format!("L0H0=zero@{text}").parse::<Edit>();
    edit.map(|edit| edit.at)
        .map_err(|_err| "all, last, or token indices separated by commas".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::metric::Metric;

    fn check(mut field: Field<'_>, good: &[&str], bad: &[(&str, &str)]) {
        for text in good {
            field.set(text).unwrap();
            assert_eq!(field.text(), *text, "{}", field.name);
        }
        for (text, part) in bad {
            let error = field.set(text).unwrap_err();
            assert!(
                error.contains(part) && error.contains(field.name),
                "{error}"
            );
        }
    }

    fn of(value: Value<'_>) -> Field<'_> {
        Field::new("x", "", value)
    }

    #[test]
    fn what_is_written_is_read_and_written_again() {
        let mut count = 3;
        check(
            of(Value::Count(&mut count, 1..=9)),
            &["4", "9"],
            &[("0", "1 to 9"), ("y", "1 to 9")],
        );
        let mut maybe = None;
        check(
            of(Value::MaybeCount(&mut maybe, 1..=9)),
            &["4", "auto"],
            &[("0", "auto")],
        );
        check(
            of(Value::Number(&mut 0.0, -1.0..=1.0)),
            &["0.5", "-1"],
            &[("2", "-1 to 1"), ("nan", "-1")],
        );
        check(
            of(Value::Flag(&mut false)),
            &["true"],
            &[("yes", "true or false")],
        );
        check(
            of(Value::Choice(&mut Metric::Kl)),
            &["loss", "prob"],
            &[("x", "logit_diff")],
        );
        check(
            of(Value::Op(&mut Op::Zero)),
            &["mean", "scale(2)", "add(f:x, 1)"],
            &[
                ("explode", "zero_keep_bias"),
                ("zero@3", "without positions"),
            ],
        );
        check(
            of(Value::Positions(&mut Positions::All)),
            &["last", "1,3", "all"],
            &[("x", "last")],
        );
        check(
            of(Value::Heads(&mut vec![])),
            &["L1H2,L3H4", ""],
            &[("L1", "L9H6")],
        );
        check(
            of(Value::Seed(&mut 0)),
            &["18446744073709551615"],
            &[("-1", "from 0")],
        );
    }
}
