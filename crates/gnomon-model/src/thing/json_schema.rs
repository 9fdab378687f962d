//! Renders a thing model as JSON Schema 2020-12.
//!
//! Invariants: a value is valid under the schema exactly if the model accepts it, but for one rule
//! that JSON Schema cannot say: a text has at most [`super::TEXT_BYTES_MAX`] bytes of UTF-8.

use serde_json::{Value, json};

use super::data_type::plain;
use super::{Access, DATE_DIGITS_MAX, DataType, Members, Property, Range, ThingModel};
use crate::Object;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

impl ThingModel {
    /// Schema of a report: an object of which each member is a property that fits, and no other.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        let properties = self.properties.iter();
        let properties = properties.map(|(identifier, one)| (identifier.clone(), annotated(one)));
        let mut schema = closed(properties.collect());
        schema.insert("title".to_owned(), self.product.as_str().into());
        document(schema)
    }

    /// Schema of a property's reported value; none if the model has no such property.
    #[must_use]
    pub fn property_schema(&self, identifier: &str) -> Option<Value> {
        self.properties.get(identifier).map(|property| document(annotated(property)))
    }

    /// Schema of an event's outputs; none if the model has no such event.
    #[must_use]
    pub fn event_schema(&self, identifier: &str) -> Option<Value> {
        self.events.get(identifier).map(|event| document(members_schema(&event.outputs)))
    }

    /// Schema of a service's inputs, the required ones among them; none if the model has no such
    /// service.
    #[must_use]
    pub fn inputs_schema(&self, service: &str) -> Option<Value> {
        let service = self.services.get(service)?;
        let mut schema = members_schema(&service.inputs);
        schema.insert("required".to_owned(), json!(service.required));
        Some(document(schema))
    }

    /// Schema of a service's outputs; none if the model has no such service.
    #[must_use]
    pub fn outputs_schema(&self, service: &str) -> Option<Value> {
        self.services.get(service).map(|service| document(members_schema(&service.outputs)))
    }
}

impl DataType {
    /// Schema of the values that fit this type, without `$schema`. The unit of a number stands in
    /// the annotation `unit`.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        Value::Object(typed(self))
    }
}

fn document(mut schema: Object) -> Value {
    schema.insert("$schema".to_owned(), DIALECT.into());
    Value::Object(schema)
}

fn annotated(property: &Property) -> Object {
    let mut schema = typed(&property.data_type);
    match property.access {
        Access::Read => drop(schema.insert("readOnly".to_owned(), true.into())),
        Access::Write => drop(schema.insert("writeOnly".to_owned(), true.into())),
        Access::ReadWrite => (),
    }
    schema
}

fn typed(data_type: &DataType) -> Object {
    match data_type {
        DataType::Int(range) => number("integer", range),
        DataType::Float(range) | DataType::Double(range) => number("number", range),
        DataType::Bool => object([("enum", json!([false, true, 0, 1]))]),
        DataType::Enum(names) => {
            let keys = names.keys().map(|key| Value::from(*key));
            let names = names.values().map(|name| Value::from(name.as_str()));
            object([("enum", keys.chain(names).collect())])
        }
        DataType::Text { length_max } => {
            object([("type", "string".into()), ("maxLength", (*length_max).into())])
        }
        DataType::Date => {
            let pattern = format!("^[0-9]{{1,{DATE_DIGITS_MAX}}}$");
            object([("type", "string".into()), ("pattern", pattern.into())])
        }
        DataType::Struct(members) => members_schema(members),
        DataType::Array { size_max, item } => object([
            ("type", "array".into()),
            ("maxItems", (*size_max).into()),
            ("items", item.json_schema()),
        ]),
    }
}

fn number(word: &str, range: &Range) -> Object {
    let mut schema = object([("type", word.into())]);
    // Every JSON number that is read lies within a double, so those limits say nothing.
    if range.min > f64::MIN {
        schema.insert("minimum".to_owned(), plain(range.min));
    }
    if range.max < f64::MAX {
        schema.insert("maximum".to_owned(), plain(range.max));
    }
    if let Some(unit) = &range.unit {
        schema.insert("unit".to_owned(), unit.as_str().into());
    }
    schema
}

fn members_schema(members: &Members) -> Object {
    closed(members.iter().map(|(name, member)| (name.clone(), typed(member))).collect())
}

/// An object of these members and no other.
fn closed(properties: Vec<(String, Object)>) -> Object {
    let properties = properties.into_iter().map(|(name, schema)| (name, Value::Object(schema)));
    object([
        ("type", "object".into()),
        ("properties", Value::Object(properties.collect())),
        ("additionalProperties", false.into()),
    ])
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Object {
    members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
