//! Strict JSON: what a device sends is read once, or refused with a reason.
//!
//! Invariants: no duplicate keys, at most [`DEPTH_MAX`] levels, no integer outside 64-bit signed
//! range, no number beyond a double. See: `wire/standards.md` 6.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::{Object, Reject, RejectKind};

/// Deepest nesting that is read; the top-level value is level 1.
pub const DEPTH_MAX: usize = 32;

/// Reads JSON text.
///
/// # Errors
/// [`RejectKind::NotJson`] with the position and the reason.
pub fn parse(bytes: &[u8]) -> Result<Value, Reject> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Reject::new(
            RejectKind::NotJson,
            format!("payload is not UTF-8 from byte {} on", error.valid_up_to()),
        )
    })?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Strict { depth: DEPTH_MAX }.deserialize(&mut deserializer);
    read.and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| Reject::new(RejectKind::NotJson, format!("payload is not JSON: {error}")))
}

/// Reads a JSON object.
///
/// # Errors
/// As [`parse`]; [`RejectKind::Malformed`] when it is another value.
pub fn parse_object(bytes: &[u8]) -> Result<Object, Reject> {
    match parse(bytes)? {
        Value::Object(object) => Ok(object),
        other => Err(Reject::new(
            RejectKind::Malformed,
            format!("payload is {}, a JSON object is expected", kind(&other)),
        )),
    }
}

/// Says what kind of JSON value this is, with its article.
#[must_use]
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        let value = i64::try_from(value)
            .map_err(|_| E::custom(format_args!("integer {value} does not fit 64 signed bits")))?;
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number is not finite"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Object::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("key `{key}` stands twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_are_refused_with_a_reason() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let at_limit = format!("{}{}", "[".repeat(33), "]".repeat(33));
        for (text, reason) in [
            (r#"{"a":1,"a":2}"#, "key `a` stands twice"),
            ("1e400", "out of range"),
            ("NaN", "expected value"),
            ("18446744073709551615", "does not fit 64 signed bits"),
            ("{} {}", "trailing characters"),
            ("", "EOF"),
            (&deep, "nested deeper"),
            (&at_limit, "nested deeper"),
        ] {
            let reject = parse(text.as_bytes()).unwrap_err();
            assert_eq!(reject.kind, RejectKind::NotJson);
            assert!(reject.reason.contains(reason), "{text:.20}: {}", reject.reason);
        }
        assert!(parse(b"\"\xff\"").unwrap_err().reason.contains("byte 1"));
    }

    #[test]
    fn numbers_keep_their_exact_value() {
        assert_eq!(parse(b"9007199254740993").unwrap().to_string(), "9007199254740993");
        assert_eq!(parse(b"-0.0").unwrap().to_string(), "-0.0");
        let at_limit = format!("{}{}", "[".repeat(32), "]".repeat(32));
        assert!(parse(at_limit.as_bytes()).is_ok());
    }
}
