//! Data types of a thing model, and the values that fit them.
//!
//! Invariants: an accepted value is canonical: accepting it again returns it unchanged.
//! Never: an accepted value outside what [`super::json_schema`] renders for the type.
//! See: `wire/alibaba.md` 5.3.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Number, Value};

use super::{Fault, FaultKind};
use crate::json;

/// Longest text in UTF-8 bytes, whatever its declared length.
pub const TEXT_BYTES_MAX: usize = 10_240;
/// Most digits of a date.
pub const DATE_DIGITS_MAX: usize = 15;
/// Most characters or names of a value that are quoted in a reason.
const QUOTED_MAX: usize = 80;
const NAMED_MAX: usize = 10;

/// Members of a struct, outputs of an event, inputs or outputs of a service, by identifier.
pub type Members = BTreeMap<String, DataType>;

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub enum DataType {
    /// A 32-bit integer. `3.0` is one; its canonical form is `3`.
    Int(Range),
    /// A number that is finite as a 32-bit float; kept as received.
    Float(Range),
    /// A 64-bit number; kept as received.
    Double(Range),
    /// `true`, `false`, 1 or 0; the canonical form is `true` or `false`.
    Bool,
    /// One of these integers, or the name of one; the canonical form is the integer. At least one;
    /// no name twice.
    Enum(BTreeMap<i32, String>),
    /// A text of at most [`TEXT_BYTES_MAX`] bytes.
    Text {
        /// Most characters, 1 to 10240.
        length_max: usize,
    },
    /// A text of 1 to [`DATE_DIGITS_MAX`] decimal digits: Unix milliseconds.
    Date,
    /// An object with any of these members, and no other; none of them is a struct or an array.
    Struct(Members),
    /// An array.
    Array {
        /// Most items, 1 to 512.
        size_max: usize,
        /// What each item is: int, float, double, text or struct.
        item: Box<DataType>,
    },
}

/// Limits of a number, both inclusive and finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// Lowest value.
    pub min: f64,
    /// Highest value, at least `min`.
    pub max: f64,
    /// Distance of neighbouring values; told to people, not enforced.
    pub step: Option<f64>,
    /// Unit as the model writes it, such as `°C`.
    pub unit: Option<String>,
}

impl DataType {
    /// The type as the thing model writes it: `int`, `float`, `double`, `bool`, `enum`, `text`,
    /// `date`, `struct` or `array`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Double(_) => "double",
            Self::Bool => "bool",
            Self::Enum(_) => "enum",
            Self::Text { .. } => "text",
            Self::Date => "date",
            Self::Struct(_) => "struct",
            Self::Array { .. } => "array",
        }
    }

    /// Limits and unit of a number; none for any other type.
    #[must_use]
    pub fn range(&self) -> Option<&Range> {
        match self {
            Self::Int(range) | Self::Float(range) | Self::Double(range) => Some(range),
            Self::Bool
            | Self::Enum(_)
            | Self::Text { .. }
            | Self::Date
            | Self::Struct(_)
            | Self::Array { .. } => None,
        }
    }

    /// Accepts a value in its canonical form. `null` fits no type. A struct may lack members.
    ///
    /// # Errors
    /// The first part that does not fit. Its identifier is the path below this value: empty for the
    /// value itself, `.lat` for a member, `[3]` for an item.
    pub fn accept(&self, value: Value) -> Result<Value, Fault> {
        match self {
            Self::Int(range) => accept_int(range, value),
            Self::Float(range) => accept_number(range, FaultKind::Float, value),
            Self::Double(range) => accept_number(range, FaultKind::Double, value),
            Self::Bool => accept_bool(&value),
            Self::Enum(names) => accept_enum(names, &value),
            Self::Text { length_max } => accept_text(*length_max, value),
            Self::Date => accept_date(value),
            Self::Struct(members) => accept_struct(members, value, Self::accept),
            Self::Array { size_max, item } => accept_array(*size_max, item, value),
        }
    }

    /// As [`DataType::accept`], for a merge patch onto a value of this type: a member of a struct
    /// may be `null`, which deletes it. The items of an array are replaced as a whole.
    ///
    /// # Errors
    /// As [`DataType::accept`].
    pub fn accept_patch(&self, value: Value) -> Result<Value, Fault> {
        let null_or_fit = |member: &Self, value: Value| match value {
            Value::Null => Ok(value),
            value => member.accept(value),
        };
        match self {
            Self::Struct(members) => accept_struct(members, value, null_or_fit),
            other => other.accept(value),
        }
    }
}

impl Range {
    /// # Errors
    /// The number is outside of the range.
    fn hold(&self, kind: FaultKind, number: &Number) -> Result<(), Fault> {
        if compare(number, self.min) == Ordering::Less {
            let min = plain(self.min);
            return Err(misfit(kind, format!("{number} is below the minimum {min}")));
        }
        if compare(number, self.max) == Ordering::Greater {
            let max = plain(self.max);
            return Err(misfit(kind, format!("{number} is above the maximum {max}")));
        }
        Ok(())
    }
}

/// Compares exactly: an integer beyond 2^53 is not taken for its rounded neighbour.
fn compare(number: &Number, limit: f64) -> Ordering {
    let rounded = number.as_f64().unwrap_or(f64::NAN);
    match number.as_i128() {
        // Equal after rounding, so the limit is an integer of at most 64 bits.
        Some(integer) if rounded == limit => integer.cmp(&(limit as i128)),
        _ => rounded.partial_cmp(&limit).unwrap_or(Ordering::Equal),
    }
}

/// Largest integer up to which a double holds every integer.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A limit as a JSON number: `60` rather than `60.0`, `1e300` rather than 301 digits.
pub(super) fn plain(limit: f64) -> Value {
    if limit.fract() == 0.0 && limit.abs() <= EXACT_MAX {
        return Value::from(limit as i64);
    }
    Value::from(limit)
}

fn accept_int(range: &Range, value: Value) -> Result<Value, Fault> {
    let whole =
        |number: &Number| number.as_i128().is_some() || number.as_f64().is_some_and(is_whole);
    let Some(number) = value.as_number().filter(|number| whole(number)) else {
        return Err(misfit(FaultKind::Int, format!("{} is not an integer", found(&value))));
    };
    range.hold(FaultKind::Int, number)?;
    let integer = number.as_i64().or_else(|| number.as_f64().map(|whole| whole as i64));
    Ok(integer.map_or(value, Value::from))
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0
}

fn accept_number(range: &Range, kind: FaultKind, value: Value) -> Result<Value, Fault> {
    let Some(number) = value.as_number() else {
        return Err(misfit(kind, format!("{} is not a number", found(&value))));
    };
    range.hold(kind, number)?;
    Ok(value)
}

fn accept_bool(value: &Value) -> Result<Value, Fault> {
    let truth = match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        _ => None,
    };
    let reason = || format!("{} is none of true, false, 1 and 0", found(value));
    truth.map(Value::Bool).ok_or_else(|| misfit(FaultKind::Bool, reason()))
}

fn accept_enum(names: &BTreeMap<i32, String>, value: &Value) -> Result<Value, Fault> {
    let key = match value {
        Value::String(text) => names.iter().find(|(_, name)| *name == text).map(|(key, _)| *key),
        Value::Number(number) => enum_key(number).filter(|key| names.contains_key(key)),
        _ => None,
    };
    let reason = || {
        let known = names.iter().map(|(key, name)| format!("{key} ({name})"));
        format!("{} is none of {}", found(value), list(known))
    };
    key.map(Value::from).ok_or_else(|| misfit(FaultKind::Enum, reason()))
}

fn enum_key(number: &Number) -> Option<i32> {
    let integer = match number.as_i64() {
        Some(integer) => integer,
        None => number.as_f64().filter(|number| is_whole(*number))? as i64,
    };
    i32::try_from(integer).ok()
}

fn accept_text(length_max: usize, value: Value) -> Result<Value, Fault> {
    let Value::String(text) = &value else {
        return Err(misfit(FaultKind::Text, format!("{} is not a text", found(&value))));
    };
    if text.len() > TEXT_BYTES_MAX {
        let reason = format!("text of {} bytes, at most {TEXT_BYTES_MAX}", text.len());
        return Err(misfit(FaultKind::Text, reason));
    }
    // A text has no more characters than bytes: most are accepted without counting.
    if text.len() > length_max && text.chars().count() > length_max {
        let length = text.chars().count();
        let reason = format!("text of {length} characters, at most {length_max}");
        return Err(misfit(FaultKind::Text, reason));
    }
    Ok(value)
}

fn accept_date(value: Value) -> Result<Value, Fault> {
    let digits = |text: &str| {
        (1..=DATE_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    };
    if value.as_str().is_some_and(digits) {
        return Ok(value);
    }
    let found = found(&value);
    let reason =
        format!("{found} is not a text of 1 to {DATE_DIGITS_MAX} digits (UTC milliseconds)");
    Err(misfit(FaultKind::Date, reason))
}

fn accept_struct(
    members: &Members,
    mut value: Value,
    accept: impl Fn(&DataType, Value) -> Result<Value, Fault>,
) -> Result<Value, Fault> {
    let Value::Object(object) = &mut value else {
        return Err(misfit(FaultKind::Struct, format!("{} is not an object", found(&value))));
    };
    for (identifier, slot) in object {
        let fitted = match members.get(identifier) {
            Some(member) => accept(member, slot.take()),
            None => Err(unknown_member(members, identifier)),
        };
        *slot = fitted.map_err(|fault| fault.below(&format!(".{identifier}")))?;
    }
    Ok(value)
}

fn unknown_member(members: &Members, identifier: &str) -> Fault {
    let known = list(members.keys().cloned());
    let reason = format!("the struct has no member {}; it has {known}", quoted(identifier));
    misfit(FaultKind::UnknownMember, reason)
}

fn accept_array(size_max: usize, item: &DataType, mut value: Value) -> Result<Value, Fault> {
    let Value::Array(array) = &mut value else {
        return Err(misfit(FaultKind::Array, format!("{} is not an array", found(&value))));
    };
    if array.len() > size_max {
        let reason = format!("array of {} items, at most {size_max}", array.len());
        return Err(misfit(FaultKind::ArrayItem, reason));
    }
    for (index, slot) in array.iter_mut().enumerate() {
        let fitted = item.accept(slot.take());
        *slot = fitted
            .map_err(|fault| fault.of_kind(FaultKind::ArrayItem).below(&format!("[{index}]")))?;
    }
    Ok(value)
}

fn misfit(kind: FaultKind, reason: String) -> Fault {
    Fault { identifier: String::new(), kind, reason }
}

impl Fault {
    /// The same fault, seen from one level above.
    pub(super) fn below(mut self, step: &str) -> Self {
        self.identifier.insert_str(0, step);
        self
    }

    fn of_kind(mut self, kind: FaultKind) -> Self {
        self.kind = kind;
        self
    }
}

/// A value as a reason shows it: a text in quotes, the kind of an array or object.
fn found(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", shortened(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => json::kind(value).to_owned(),
    }
}

/// An identifier as a reason shows it.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", shortened(text))
}

/// The first 80 characters, with control characters escaped: what a device sends may be long, and
/// reasons are shown on terminals.
pub(super) fn shortened(text: &str) -> String {
    let cut = text.char_indices().nth(QUOTED_MAX).map_or(text, |(at, _)| &text[..at]);
    let dots = if cut.len() < text.len() { "..." } else { "" };
    format!("{}{dots}", cut.escape_debug())
}

/// Up to ten names.
fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = if names.len() > NAMED_MAX { ", ..." } else { "" };
    names.take(NAMED_MAX).collect::<Vec<_>>().join(", ") + more
}
