//! Thing models: what a product's devices report, emit and serve.
//!
//! Invariants: a loaded model has passed every rule of `wire/alibaba.md` 5.1 to 5.4; values are
//! accepted without looking at its files again.
//! Never: the pseudo entries `post`, `set` and `get`, which are protocol and not model.

mod accept;
mod data_type;
mod json_schema;
mod node;
mod problem;
mod specs;
mod tsl;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use data_type::{DATE_DIGITS_MAX, DataType, Members, Range, TEXT_BYTES_MAX};
pub use problem::ModelProblem;

use crate::ProductKey;

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
    /// Not an object.
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
    /// Identifier of the property, event, service or member, with its path: `position.lat`,
    /// `samples[3]`. As the sender wrote it, of any length.
    pub identifier: String,
    /// For machines.
    pub kind: FaultKind,
    /// For people: what was found and what would fit.
    pub reason: String,
}

/// A product's thing model, compiled once.
///
/// Identifiers of a function block other than `default` carry its name: `meter:Volt`.
///
/// ```
/// use gnomon_model::{ProductKey, ThingModel};
///
/// let text = r#"{"properties":[
///     {"identifier":"door","accessMode":"r","dataType":{"type":"bool"}}]}"#;
/// let files = [("coldroom.json".to_owned(), text.to_owned())];
/// let model = ThingModel::load(&ProductKey::parse("coldroom")?, &files).map_err(|_| "problems")?;
///
/// assert_eq!(model.accept_property("door", 1.into()), Ok(true.into()));
/// assert!(model.accept_property("dor", 1.into()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ThingModel {
    /// The product.
    pub product: ProductKey,
    properties: BTreeMap<String, Property>,
    events: BTreeMap<String, Event>,
    services: BTreeMap<String, Service>,
}

/// All loaded thing models, by product.
pub type Models = BTreeMap<ProductKey, Arc<ThingModel>>;

/// Something that a device measures or can be set to.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// Who may change it.
    pub access: Access,
    /// What its values are.
    pub data_type: DataType,
}

/// Who may change a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// `r`: the device reports it.
    Read,
    /// `rw`: the device reports it, applications and rules may desire it.
    ReadWrite,
    /// `w`: applications and rules may desire it; a report of it is accepted.
    Write,
}

/// Something that happens on a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// How grave it is.
    pub severity: EventSeverity,
    /// What it tells.
    pub outputs: Members,
}

/// How grave an event is, as its model says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventSeverity {
    /// `info`
    Info,
    /// `alert`
    Alert,
    /// `error`
    Error,
}

/// Something that a device does when it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Whether the caller waits for the reply.
    pub call_type: CallType,
    /// What it is told.
    pub inputs: Members,
    /// The inputs that must be given: all that do not say `"required": false`.
    pub required: BTreeSet<String>,
    /// What it replies.
    pub outputs: Members,
}

/// Whether the caller of a service waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallType {
    /// `sync`: the caller waits for the reply.
    Sync,
    /// `async`: the reply arrives later.
    Async,
}

impl Access {
    /// The access as the thing model writes it: `r`, `rw` or `w`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::ReadWrite => "rw",
            Self::Write => "w",
        }
    }
}

impl ThingModel {
    /// Loads the model of a product from its files, each with its name and its text in the TSL
    /// format (`wire/alibaba.md` 5.1), one file per function block or several; in any order.
    ///
    /// Numbers may be written as texts; an empty text counts as absent. A simplified export, with
    /// `identifier` and `dataType` alone, is completed: access `rw`, event type `info`, call type
    /// `async`, the widest limits. Unknown keys are ignored.
    ///
    /// # Errors
    /// Everything that is wrong with any file, in the order of the files; at least one problem. A
    /// person must change the files.
    pub fn load(
        product: &ProductKey,
        files: &[(String, String)],
    ) -> Result<Self, Vec<ModelProblem>> {
        tsl::load(product, files)
    }

    /// All properties, by identifier.
    #[must_use]
    pub fn properties(&self) -> &BTreeMap<String, Property> {
        &self.properties
    }

    /// All events, by identifier.
    #[must_use]
    pub fn events(&self) -> &BTreeMap<String, Event> {
        &self.events
    }

    /// All services, by identifier.
    #[must_use]
    pub fn services(&self) -> &BTreeMap<String, Service> {
        &self.services
    }

    /// Whether the service is synchronous; none if the model has no such service.
    #[must_use]
    pub fn is_sync(&self, service: &str) -> Option<bool> {
        self.services.get(service).map(|service| service.call_type == CallType::Sync)
    }
}
