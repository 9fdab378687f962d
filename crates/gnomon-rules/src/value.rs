//! Values of the model as values of Rhai, and back.
//!
//! Invariants: what comes back is JSON: finite numbers, no functions, bounded depth.

use gnomon_model::Object;
use rhai::{Dynamic, Map};
use serde_json::{Number, Value};

use crate::reads::Part;

/// Deepest nesting of a value that a rule may hand out.
const DEPTH_MAX: usize = 16;

pub(crate) fn to_map(object: &Object) -> Map {
    object.iter().map(|(key, value)| (key.as_str().into(), to_dynamic(value))).collect()
}

pub(crate) fn to_dynamic(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(flag) => Dynamic::from_bool(*flag),
        Value::Number(number) => number
            .as_i64()
            .map(Dynamic::from_int)
            .or_else(|| number.as_f64().map(Dynamic::from_float))
            .unwrap_or(Dynamic::UNIT),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => Dynamic::from_array(items.iter().map(to_dynamic).collect()),
        Value::Object(members) => Dynamic::from_map(to_map(members)),
    }
}

/// The part of an object that is read.
pub(crate) fn to_map_of(object: &Object, part: &Part) -> Map {
    match part {
        Part::All => to_map(object),
        Part::Members(members) => {
            let read = members.iter().filter_map(|(name, part)| {
                Some((name.as_str().into(), to_dynamic_of(object.get(name)?, part)))
            });
            read.collect()
        }
    }
}

/// The part of a value that is read.
pub(crate) fn to_dynamic_of(value: &Value, part: &Part) -> Dynamic {
    match value {
        Value::Object(members) => Dynamic::from_map(to_map_of(members, part)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            to_dynamic(value)
        }
    }
}

/// Turns a map of a rule into an object; `what` names it in the error.
pub(crate) fn to_object(map: &Map, what: &str) -> Result<Object, String> {
    object(map, what, DEPTH_MAX)
}

/// Turns a value of a rule into JSON; `what` names it in the error.
pub(crate) fn to_json(value: &Dynamic, what: &str) -> Result<Value, String> {
    json(value, what, DEPTH_MAX)
}

fn object(map: &Map, what: &str, depth: usize) -> Result<Object, String> {
    map.iter()
        .map(|(key, value)| Ok((key.to_string(), json(value, &format!("{what}.{key}"), depth)?)))
        .collect()
}

fn json(value: &Dynamic, what: &str, depth: usize) -> Result<Value, String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("{what} is nested deeper than {DEPTH_MAX} levels"));
    };
    if let Ok(flag) = value.as_bool() {
        return Ok(Value::Bool(flag));
    }
    if let Ok(int) = value.as_int() {
        return Ok(Value::Number(int.into()));
    }
    if let Ok(float) = value.as_float() {
        let number = Number::from_f64(float);
        return number.map(Value::Number).ok_or_else(|| format!("{what} is {float}, not a number"));
    }
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(Value::String(text.to_string()));
    }
    if let Ok(letter) = value.as_char() {
        return Ok(Value::String(letter.to_string()));
    }
    if let Ok(items) = value.as_array_ref() {
        let item = |(at, item): (usize, &Dynamic)| json(item, &format!("{what}[{at}]"), depth);
        return items.iter().enumerate().map(item).collect();
    }
    if let Ok(map) = value.as_map_ref() {
        return Ok(Value::Object(object(&map, what, depth)?));
    }
    Err(format!("{what} is a {}, which cannot be kept or sent", value.type_name()))
}
