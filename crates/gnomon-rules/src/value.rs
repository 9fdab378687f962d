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

/// Turns a map of a rule into an object; `what` names it in the error. Stops when it is sure that
/// the text of the object has more bytes than that.
pub(crate) fn to_object(map: &Map, what: &str, bytes_max: usize) -> Result<Object, String> {
    let mut writer = Writer { bytes_left: bytes_max, bytes_max };
    writer.object(map, DEPTH_MAX).map_err(|wrong| wrong.told(what))
}

/// Turns a value of a rule into JSON, likewise.
pub(crate) fn to_json(value: &Dynamic, what: &str, bytes_max: usize) -> Result<Value, String> {
    let mut writer = Writer { bytes_left: bytes_max, bytes_max };
    writer.json(value, DEPTH_MAX).map_err(|wrong| wrong.told(what))
}

/// What is wrong with a value, and where in it.
struct Wrong {
    path: String,
    why: String,
}

impl Wrong {
    fn new(why: impl Into<String>) -> Self {
        Self { path: String::new(), why: why.into() }
    }

    fn below(self, step: impl std::fmt::Display) -> Self {
        Self { path: format!("{step}{}", self.path), ..self }
    }

    fn told(self, what: &str) -> String {
        format!("{what}{:.80} {}", self.path, self.why)
    }
}

/// Makes JSON within a number of bytes, of which it counts no more than the text will have.
struct Writer {
    bytes_left: usize,
    bytes_max: usize,
}

impl Writer {
    fn count(&mut self, bytes: usize) -> Result<(), Wrong> {
        let left = self.bytes_left.checked_sub(bytes);
        let too_large = || Wrong::new(format!("is too large: at most {} bytes", self.bytes_max));
        self.bytes_left = left.ok_or_else(too_large)?;
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<String, Wrong> {
        self.count(text.len() + 1)?;
        Ok(text.to_owned())
    }

    fn object(&mut self, map: &Map, depth: usize) -> Result<Object, Wrong> {
        let member = |(key, value): (&rhai::Identifier, &Dynamic)| {
            let name = self.text(key)?;
            let value = self.json(value, depth);
            Ok((name, value.map_err(|wrong| wrong.below(format_args!(".{key:.80}")))?))
        };
        map.iter().map(member).collect()
    }

    fn array(&mut self, items: &[Dynamic], depth: usize) -> Result<Value, Wrong> {
        let item = |(at, item): (usize, &Dynamic)| {
            self.json(item, depth).map_err(|wrong| wrong.below(format_args!("[{at}]")))
        };
        items.iter().enumerate().map(item).collect()
    }

    fn json(&mut self, value: &Dynamic, depth: usize) -> Result<Value, Wrong> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Wrong::new(format!("is nested deeper than {DEPTH_MAX} levels")));
        };
        self.count(1)?;
        if let Ok(flag) = value.as_bool() {
            return Ok(Value::Bool(flag));
        }
        if let Ok(int) = value.as_int() {
            return Ok(Value::Number(int.into()));
        }
        if let Ok(float) = value.as_float() {
            let number = Number::from_f64(float);
            let no_number = || Wrong::new(format!("is {float}, not a number"));
            return number.map(Value::Number).ok_or_else(no_number);
        }
        if value.is_unit() {
            return Ok(Value::Null);
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            return Ok(Value::String(self.text(&text)?));
        }
        if let Ok(letter) = value.as_char() {
            return Ok(Value::String(letter.to_string()));
        }
        if let Ok(items) = value.as_array_ref() {
            return self.array(&items, depth);
        }
        if let Ok(map) = value.as_map_ref() {
            return Ok(Value::Object(self.object(&map, depth)?));
        }
        Err(Wrong::new(format!("is a {}, which cannot be kept or sent", value.type_name())))
    }
}
