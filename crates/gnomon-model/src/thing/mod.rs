//! Thing models: what a product's devices report, emit and serve.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::{Object, ProductKey};

/// Why a value does not fit, for machines; Alink has a code for each (`wire/alibaba.md` 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The model has no such property.
    UnknownProperty,
    /// The model has no such event.
    UnknownEvent,
    /// The model has no such service.
    UnknownService,
    /// A struct, an event's outputs or a service's inputs have no such member.
    UnknownMember,
    /// A required input is missing.
    MissingInput,
    /// A property that the device alone may change.
    ReadOnly,
    /// Not a 32-bit integer, or out of its range.
    Int,
    /// Not a 32-bit float, or out of its range.
    Float,
    /// Not a number, or out of its range.
    Double,
    /// Not 0, 1, true or false.
    Bool,
    /// Not one of the enum's keys or names.
    Enum,
    /// Not a text, or too long.
    Text,
    /// Not a text of UTC milliseconds.
    Date,
    /// Not an object, or a member is missing.
    Struct,
    /// Not an array.
    Array,
    /// An array has too many elements, or one that does not fit.
    ArrayItem,
    /// A time that is not Unix milliseconds.
    Time,
}

/// One part of a message that does not fit the thing model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Identifier of the property, event, service or member, with its path: `position.lat`.
    pub identifier: String,
    /// For machines.
    pub kind: FaultKind,
    /// For people: what was found and what would fit.
    pub reason: String,
}

/// A product's thing model, compiled once.
#[derive(Debug, Clone)]
pub struct ThingModel {
    /// The product.
    pub product: ProductKey,
}

/// All loaded thing models, by product.
pub type Models = BTreeMap<ProductKey, Arc<ThingModel>>;

impl ThingModel {
    /// Accepts a reported value in its canonical form (bool as true/false, enum as its integer).
    ///
    /// # Errors
    /// No such property, or the value does not fit.
    pub fn accept_property(&self, identifier: &str, value: Value) -> Result<Value, Fault> {
        let _ = (identifier, value);
        todo!("thing model")
    }

    /// Accepts a merge patch onto `desired`: every attribute is a writable property whose value
    /// fits, or `null`, which deletes.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn accept_desired(&self, patch: &Object) -> Result<Object, Vec<Fault>> {
        let _ = patch;
        todo!("thing model")
    }

    /// Accepts an event: the outputs that fit, and the faults of those that do not.
    ///
    /// # Errors
    /// No such event.
    pub fn accept_event(
        &self,
        identifier: &str,
        outputs: &Object,
    ) -> Result<(Object, Vec<Fault>), Fault> {
        let _ = (identifier, outputs);
        todo!("thing model")
    }

    /// Accepts the inputs of a call to a service.
    ///
    /// # Errors
    /// No such service, or everything that is wrong with its inputs.
    pub fn accept_inputs(&self, service: &str, inputs: &Object) -> Result<Object, Vec<Fault>> {
        let _ = (service, inputs);
        todo!("thing model")
    }

    /// Accepts the outputs of a reply: those that fit, and the faults of those that do not.
    #[must_use]
    pub fn accept_outputs(&self, service: &str, outputs: &Object) -> (Object, Vec<Fault>) {
        let _ = (service, outputs);
        todo!("thing model")
    }

    /// Whether the service is synchronous; none if the model has no such service.
    #[must_use]
    pub fn is_sync(&self, service: &str) -> Option<bool> {
        let _ = service;
        todo!("thing model")
    }
}
