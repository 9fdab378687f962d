//! Delta: what is desired and not reported, and when two values are the same.
//!
//! See: `wire/aws.md` 1.4.

use serde_json::{Number, Value};

use crate::Object;

pub(super) fn delta(desired: &Object, reported: &Object) -> Object {
    desired
        .iter()
        .filter_map(|(key, wanted)| Some((key.clone(), missing(wanted, reported.get(key))?)))
        .collect()
}

fn missing(wanted: &Value, reported: Option<&Value>) -> Option<Value> {
    match (wanted, reported) {
        (Value::Object(wanted), Some(Value::Object(reported))) => {
            let delta = delta(wanted, reported);
            (!delta.is_empty()).then_some(Value::Object(delta))
        }
        (wanted, Some(reported)) if same(wanted, reported) => None,
        (wanted, _) => Some(wanted.clone()),
    }
}

/// Whether two values are the same: numbers by exact value (`1` is `1.0`, and 2^53 + 1 is not
/// 2^53), arrays by order and length, objects by members, strings byte for byte.
#[must_use]
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same_member =
                |(key, one): (&String, &Value)| other.get(key).is_some_and(|b| same(one, b));
            one.len() == other.len() && one.iter().all(same_member)
        }
        (one, other) => one == other,
    }
}

fn same_number(one: &Number, other: &Number) -> bool {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.as_f64() == other.as_f64(),
        (Some(integer), None) => is_integer(other, integer),
        (None, Some(integer)) => is_integer(one, integer),
    }
}

/// The number, if it is written as an integer.
fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// Whether a double is exactly this 64-bit integer. The integer is never made a double, which would
/// round it; a double without a fraction is exact as `i128` or saturates far beyond 64 bits.
fn is_integer(double: &Number, integer: i128) -> bool {
    double.as_f64().is_some_and(|double| double.fract() == 0.0 && double as i128 == integer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    #[test]
    fn numbers_are_the_same_by_exact_value() {
        for (one, other, then) in [
            ("1", "1.0", true),
            ("-0.0", "0", true),
            ("1e2", "100", true),
            ("0.1", "0.10", true),
            ("1", "1.5", false),
            ("9007199254740993", "9007199254740993", true),
            ("9007199254740993", "9007199254740992", false),
            ("9007199254740993", "9007199254740992.0", false),
            ("9007199254740992", "9007199254740992.0", true),
            ("9223372036854775807", "9223372036854775808.0", false),
            ("-9223372036854775808", "-9223372036854775808.0", true),
            ("1e300", "9223372036854775807", false),
            ("1", "true", false),
            ("1", r#""1""#, false),
            (r#"["a",[1]]"#, r#"["a",[1.0]]"#, true),
            ("[1,2]", "[2,1]", false),
            (r#"{"a":1}"#, r#"{"a":1.0}"#, true),
            (r#"{"a":1}"#, r#"{"b":1}"#, false),
            (r#"{"a":1}"#, r#"{"a":1,"b":1}"#, false),
        ] {
            let (one, other) = (parse(one.as_bytes()).unwrap(), parse(other.as_bytes()).unwrap());
            assert_eq!(same(&one, &other), then, "{one} {other}");
            assert_eq!(same(&other, &one), then, "{other} {one}");
        }
    }
}
