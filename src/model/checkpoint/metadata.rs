//! The typed keys and values of a GGUF file; `gguf` reads them.

use std::collections::BTreeMap;

/// Values by key. An accessor gives `None` both for a missing key and for one of another type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufMetadata {
    pub(super) values: BTreeMap<String, GgufValue>,
}

/// Every integer width is kept as 64 bits, both float widths as f64; none of that rounds.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufValue {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Str(String),
    Array(GgufArray),
}

#[derive(Debug, Clone, PartialEq)]
pub enum GgufArray {
    Unsigned(Vec<u64>),
    Signed(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
    Str(Vec<String>),
}

impl GgufMetadata {
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.values.get(key)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub fn str(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            GgufValue::Str(value) => Some(value),
            _ => None,
        }
    }

    /// An integer of any width that is not negative.
    pub fn u64(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            GgufValue::Unsigned(value) => Some(*value),
            GgufValue::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    pub fn f64(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            GgufValue::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            GgufValue::Bool(value) => Some(*value),
            _ => None,
        }
    }

    fn array(&self, key: &str) -> Option<&GgufArray> {
        match self.get(key)? {
            GgufValue::Array(array) => Some(array),
            _ => None,
        }
    }

    pub fn strings(&self, key: &str) -> Option<&[String]> {
        match self.array(key)? {
            GgufArray::Str(values) => Some(values),
            _ => None,
        }
    }

    /// An array of integers, none negative.
    pub fn u64s(&self, key: &str) -> Option<Vec<u64>> {
        match self.array(key)? {
            GgufArray::Unsigned(values) => Some(values.clone()),
            GgufArray::Signed(values) => values.iter().map(|&v| u64::try_from(v).ok()).collect(),
            _ => None,
        }
    }

    pub fn f64s(&self, key: &str) -> Option<&[f64]> {
        match self.array(key)? {
            GgufArray::Float(values) => Some(values),
            _ => None,
        }
    }

    pub fn bools(&self, key: &str) -> Option<&[bool]> {
        match self.array(key)? {
            GgufArray::Bool(values) => Some(values),
            _ => None,
        }
    }
}

impl FromIterator<(String, GgufValue)> for GgufMetadata {
    fn from_iter<I: IntoIterator<Item = (String, GgufValue)>>(pairs: I) -> Self {
        Self {
            values: pairs.into_iter().collect(),
        }
    }
}
