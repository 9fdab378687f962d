//! Which parts of a message fit a thing model, and what is wrong with the others.
//!
//! Invariants: every member of a message ends up accepted or in a fault, never both, never neither.
//! See: `wire/alibaba.md` 5.5.

use serde_json::Value;

use super::data_type::quoted;
use super::{Access, Fault, FaultKind, Members, Property, Service, ThingModel};
use crate::Object;

impl ThingModel {
    /// Accepts a reported value in its canonical form (bool as true/false, enum as its integer).
    /// A struct may lack members; `null` fits no property.
    ///
    /// # Errors
    /// No such property, or the first part of the value that does not fit.
    pub fn accept_property(&self, identifier: &str, value: Value) -> Result<Value, Fault> {
        let property = self.property(identifier)?;
        property.data_type.accept(value).map_err(|fault| fault.below(identifier))
    }

    /// Accepts a merge patch onto an empty `desired`; see [`ThingModel::accept_desired_onto`].
    ///
    /// # Errors
    /// Everything that is wrong with it, one fault for each attribute.
    pub fn accept_desired(&self, patch: &Object) -> Result<Object, Vec<Fault>> {
        self.accept_desired_onto(&Object::new(), patch)
    }

    /// Accepts a merge patch onto what is `desired` now: every attribute is a writable property
    /// whose value fits, or `null`, which deletes. A member of a struct may be `null` too.
    ///
    /// What stands in `desired` may be deleted whatever the model says, an attribute and a member
    /// of one: the model may have changed since it was desired.
    ///
    /// # Errors
    /// Everything that is wrong with it, one fault for each attribute.
    pub fn accept_desired_onto(
        &self,
        desired: &Object,
        patch: &Object,
    ) -> Result<Object, Vec<Fault>> {
        let desire = |identifier: &str, value| match (desired.get(identifier), value) {
            (Some(_), Value::Null) => Ok(Value::Null),
            (Some(Value::Object(standing)), Value::Object(members)) => {
                self.accept_members(identifier, standing, members)
            }
            (_, value) => self.accept_desire(identifier, value),
        };
        complete(sort(patch, desire))
    }

    /// Accepts an event: the outputs that fit, and the faults of those that do not. Outputs may be
    /// missing. A fault names the output, not the event.
    ///
    /// # Errors
    /// No such event.
    pub fn accept_event(
        &self,
        identifier: &str,
        outputs: &Object,
    ) -> Result<(Object, Vec<Fault>), Fault> {
        let unknown = || self.unknown(FaultKind::UnknownEvent, "event", identifier);
        let event = self.events.get(identifier).ok_or_else(unknown)?;
        Ok(sort(outputs, |output, value| {
            accept_member(&event.outputs, output, value, || format!("event {}", quoted(identifier)))
        }))
    }

    /// Accepts the inputs of a call to a service. Every input must be given unless the model says
    /// `"required": false`. A fault names the input, not the service.
    ///
    /// # Errors
    /// No such service, or everything that is wrong with its inputs.
    pub fn accept_inputs(&self, service: &str, inputs: &Object) -> Result<Object, Vec<Fault>> {
        let model = self.service(service).map_err(|fault| vec![fault])?;
        let (accepted, mut faults) = sort(inputs, |input, value| {
            accept_member(&model.inputs, input, value, || format!("service {}", quoted(service)))
        });
        let missing = model.required.iter().filter(|input| !inputs.contains_key(*input));
        faults.extend(missing.map(|input| Fault {
            identifier: input.clone(),
            kind: FaultKind::MissingInput,
            reason: format!("service {} needs the input {}", quoted(service), quoted(input)),
        }));
        complete((accepted, faults))
    }

    /// Accepts the outputs of a reply: those that fit, and the faults of those that do not. Outputs
    /// may be missing. Without such a service nothing fits, and the one fault names the service.
    #[must_use]
    pub fn accept_outputs(&self, service: &str, outputs: &Object) -> (Object, Vec<Fault>) {
        let model = match self.service(service) {
            Ok(model) => model,
            Err(fault) => return (Object::new(), vec![fault]),
        };
        sort(outputs, |output, value| {
            accept_member(&model.outputs, output, value, || format!("service {}", quoted(service)))
        })
    }

    fn property(&self, identifier: &str) -> Result<&Property, Fault> {
        let unknown = || self.unknown(FaultKind::UnknownProperty, "property", identifier);
        self.properties.get(identifier).ok_or_else(unknown)
    }

    fn service(&self, identifier: &str) -> Result<&Service, Fault> {
        let unknown = || self.unknown(FaultKind::UnknownService, "service", identifier);
        self.services.get(identifier).ok_or_else(unknown)
    }

    fn accept_desire(&self, identifier: &str, value: Value) -> Result<Value, Fault> {
        let property = self.property(identifier)?;
        if property.access == Access::Read {
            let reason = format!("property {} is read-only", quoted(identifier));
            return Err(Fault {
                identifier: identifier.to_owned(),
                kind: FaultKind::ReadOnly,
                reason,
            });
        }
        match value {
            Value::Null => Ok(value),
            value => {
                property.data_type.accept_patch(value).map_err(|fault| fault.below(identifier))
            }
        }
    }

    /// Accepts a patch of a struct of which these members are desired now. Structs hold no structs.
    fn accept_members(
        &self,
        identifier: &str,
        standing: &Object,
        members: Object,
    ) -> Result<Value, Fault> {
        let (mut deleted, others): (Object, Object) = members
            .into_iter()
            .partition(|(member, value)| value.is_null() && standing.contains_key(member));
        if others.is_empty() && !deleted.is_empty() {
            return Ok(Value::Object(deleted));
        }
        let mut accepted = self.accept_desire(identifier, Value::Object(others))?;
        if let Some(accepted) = accepted.as_object_mut() {
            accepted.append(&mut deleted);
        }
        Ok(accepted)
    }

    fn unknown(&self, kind: FaultKind, noun: &str, identifier: &str) -> Fault {
        let name = quoted(identifier);
        let reason = format!("the model of product {} has no {noun} {name}", self.product);
        Fault { identifier: identifier.to_owned(), kind, reason }
    }
}

/// Parts a message into what fits and what does not.
fn sort(
    message: &Object,
    accept: impl Fn(&str, Value) -> Result<Value, Fault>,
) -> (Object, Vec<Fault>) {
    let mut accepted = Object::new();
    let mut faults = Vec::new();
    for (identifier, value) in message {
        match accept(identifier, value.clone()) {
            Ok(value) => drop(accepted.insert(identifier.clone(), value)),
            Err(fault) => faults.push(fault),
        }
    }
    (accepted, faults)
}

/// All or nothing.
fn complete((accepted, faults): (Object, Vec<Fault>)) -> Result<Object, Vec<Fault>> {
    if faults.is_empty() { Ok(accepted) } else { Err(faults) }
}

fn accept_member(
    members: &Members,
    identifier: &str,
    value: Value,
    owner: impl Fn() -> String,
) -> Result<Value, Fault> {
    match members.get(identifier) {
        Some(member) => member.accept(value).map_err(|fault| fault.below(identifier)),
        None => Err(Fault {
            identifier: identifier.to_owned(),
            kind: FaultKind::UnknownMember,
            reason: format!("{} has no member {}", owner(), quoted(identifier)),
        }),
    }
}
