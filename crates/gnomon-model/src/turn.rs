//! A turn is one step in progress: it owns the record, and collects what the step decides.
//!
//! Invariants: every change of the record and the effect that tells of it are made by one call.

use serde_json::Value;

use crate::record::PendingCall;
use crate::{
    Action, Alert, AlertStatus, Answer, CallId, Destination, DeviceKey, Effect, Envelope,
    EnvelopeId, Fault, Note, Object, Outcome, Outgoing, Record, Reject, ReplyTo, Severity,
    ThingModel, Waits,
};

/// Most calls that one device may have pending; the oldest is dropped for a newer one.
pub const CALLS_PENDING_MAX: usize = 64;
/// Most alerts kept in one record; the oldest cleared one is dropped for a newer one.
pub const ALERTS_MAX: usize = 64;

/// One step in progress.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The record, as changed so far.
    pub record: Record,
    /// The envelope that is being applied.
    pub envelope: &'a Envelope,
    /// Thing model of the device's product.
    pub model: &'a ThingModel,
    waits: Waits,
    effects: Vec<Effect>,
    notes: Vec<Note>,
    ids_made: usize,
}

impl<'a> Turn<'a> {
    /// Begins a step, in which things wait as long as usual.
    #[must_use]
    pub fn new(record: Record, envelope: &'a Envelope, model: &'a ThingModel) -> Self {
        let (effects, notes) = (Vec::new(), Vec::new());
        Self { record, envelope, model, waits: Waits::default(), effects, notes, ids_made: 0 }
    }

    /// Lets things wait as long as this, from here on.
    #[must_use]
    pub fn waiting(self, waits: Waits) -> Self {
        Self { waits, ..self }
    }

    /// The device of this step.
    #[must_use]
    pub fn device(&self) -> &'a DeviceKey {
        &self.envelope.device
    }

    /// Adds an effect.
    pub fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Adds a note.
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// Whether a rule has answered the device's request.
    #[must_use]
    pub fn has_responded(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Response { .. }))
    }

    /// Keeps only the properties that fit the model; the others become faults.
    pub fn accept_report(&mut self, values: Object) -> (Object, Vec<Fault>) {
        let mut accepted = Object::new();
        let mut faults = Vec::new();
        for (identifier, value) in values {
            match self.model.accept_property(&identifier, value) {
                Ok(value) => drop(accepted.insert(identifier, value)),
                Err(fault) => faults.push(fault),
            }
        }
        self.count_faults(faults.len());
        (accepted, faults)
    }

    /// Counts parts of a message that did not fit the model.
    pub fn count_faults(&mut self, count: usize) {
        if count > 0 {
            self.record.counts.faults += count as u64;
            self.note(Note::Faults { count: count as u64 });
        }
    }

    /// Merges a report of `time_ms` into the shadow and returns the attributes of which anything
    /// was taken, as the shadow holds them now. What is older than the shadow is not taken.
    pub fn report(&mut self, values: &Object, time_ms: i64) -> Object {
        let merged = self.record.shadow.report(values, time_ms);
        if !merged.late.is_empty() {
            let count = merged.late.len() as u64;
            self.record.counts.late += count;
            self.note(Note::Late { count });
        }
        let reported = &self.record.shadow.reported;
        let current =
            |attribute: String| Some((attribute.clone(), reported.get(&attribute)?.clone()));
        merged.taken.into_iter().filter_map(current).collect()
    }

    /// Sets desired attributes (already accepted by the model) and tells the device what differs.
    /// Returns whether the desired state changed.
    pub fn desire(&mut self, patch: &Object) -> bool {
        let before = self.record.shadow.desired.clone();
        self.record.shadow.desire(patch, self.envelope.received_at_ms);
        if self.record.shadow.desired == before {
            return false;
        }
        self.tell_delta();
        true
    }

    /// Tells the device what is desired and not reported, if anything is.
    pub fn tell_delta(&mut self) {
        let delta = self.record.shadow.delta();
        if !delta.is_empty() {
            let id = self.next_id();
            let version = self.record.shadow.version;
            self.effect(Effect::Desired { delta, version, id });
        }
    }

    /// Calls a service with inputs that the model has accepted; the reply is awaited until
    /// `deadline_ms`.
    pub fn call(&mut self, service: &str, inputs: Object, caller: Caller, deadline_ms: i64) {
        let over = self.record.time_out_calls(self.envelope.received_at_ms);
        over.into_iter().for_each(|call| self.no_reply(call));
        while self.record.calls.len() >= CALLS_PENDING_MAX {
            let oldest = self.record.calls.iter().min_by_key(|(_, call)| call.deadline_ms);
            let id = *oldest.expect("a full ledger has an oldest call").0;
            self.record.calls.remove(&id);
        }
        let mut id = self.next_id();
        while self.record.calls.contains_key(&id) {
            id = self.next_id();
        }
        let sync = self.model.is_sync(service).unwrap_or(false);
        let (request, rule) = match caller {
            Caller::Application { request } => (Some(request), None),
            Caller::Rule { rule } => (None, Some(rule)),
        };
        let pending = PendingCall { service: service.to_owned(), request, rule, deadline_ms };
        self.record.calls.insert(id, pending);
        self.effect(Effect::Call { id, service: service.to_owned(), inputs, sync });
    }

    fn no_reply(&mut self, call: PendingCall) {
        let (effect, note) = no_reply(call);
        self.effects.extend(effect);
        self.note(note);
    }

    /// Carries out what a rule decided. `at_ms` is the time of what woke it; `request` is the
    /// device's request if one did.
    pub fn act(&mut self, rule: &str, action: Action, at_ms: i64, request: Option<&ReplyTo>) {
        let refused = match action {
            Action::Alert { alert, severity, message, values } => {
                self.raise(rule, alert, severity, message, values, at_ms);
                Ok(())
            }
            Action::Clear { alert, values } => {
                self.clear(rule, &alert, values, at_ms);
                Ok(())
            }
            Action::Desire { patch } => self.rule_desires(&patch),
            Action::Call { service, inputs } => self.rule_calls(rule, &service, &inputs),
            Action::Publish { topic, payload } => {
                self.effect(Effect::Publish { topic, payload });
                Ok(())
            }
            Action::Respond { body } => self.respond(request, body),
            Action::Log { text } => {
                self.note(Note::Log { rule: rule.to_owned(), text });
                Ok(())
            }
        };
        if let Err(message) = refused {
            self.note(Note::ActionRefused { rule: rule.to_owned(), message });
        }
    }

    /// Ends the step: `encode` turns one effect into the messages that carry it.
    #[must_use]
    pub fn finish<I>(self, encode: impl Fn(&Effect, &DeviceKey, &Record) -> I) -> Outcome
    where
        I: IntoIterator<Item = (Destination, String)>,
    {
        Outcome::changed(self.record, self.envelope, &self.effects, self.notes, encode)
    }

    fn next_id(&mut self) -> CallId {
        self.ids_made += 1;
        CallId::derive(&self.envelope.id, self.ids_made)
    }

    fn raise(
        &mut self,
        rule: &str,
        alert: String,
        severity: Severity,
        message: String,
        values: Object,
        at_ms: i64,
    ) {
        let key = format!("{rule}/{alert}");
        let active = |one: &Alert| one.status == AlertStatus::Active;
        if self.record.alerts.get(&key).is_some_and(active) {
            return;
        }
        self.make_room_for_alert(&key);
        self.ids_made += 1;
        let raised = Alert {
            id: format!("{}-{}", self.envelope.id, self.ids_made),
            alert,
            status: AlertStatus::Active,
            severity,
            message,
            product: self.envelope.device.product.clone(),
            device: self.envelope.device.device.clone(),
            at: at_ms,
            values,
            rule: rule.to_owned(),
            acknowledged_at: None,
            acknowledged_by: None,
            remind_at: self.waits.remind_at(self.envelope.received_at_ms, 0),
            reminders: 0,
        };
        self.record.alerts.insert(key, raised.clone());
        self.effect(Effect::Alert(raised));
    }

    fn make_room_for_alert(&mut self, key: &str) {
        let alerts = &mut self.record.alerts;
        if alerts.len() < ALERTS_MAX || alerts.contains_key(key) {
            return;
        }
        let oldest =
            alerts.iter().min_by_key(|(_, one)| (one.status == AlertStatus::Active, one.at));
        let key = oldest.expect("a full map has an oldest alert").0.clone();
        alerts.remove(&key);
    }

    fn clear(&mut self, rule: &str, alert: &str, values: Object, at_ms: i64) {
        let Some(open) = self.record.alerts.get_mut(&format!("{rule}/{alert}")) else { return };
        if open.status == AlertStatus::Cleared {
            return;
        }
        open.clear(values, at_ms);
        let cleared = open.clone();
        self.effect(Effect::Alert(cleared));
    }

    fn rule_desires(&mut self, patch: &Object) -> Result<(), String> {
        let patch = self
            .model
            .accept_desired_onto(&self.record.shadow.desired, patch)
            .map_err(|faults| sentence("desire", &faults))?;
        self.desire(&patch);
        Ok(())
    }

    fn rule_calls(&mut self, rule: &str, service: &str, inputs: &Object) -> Result<(), String> {
        let accepted = self.model.accept_inputs(service, inputs);
        let inputs = accepted.map_err(|faults| sentence("call", &faults))?;
        let deadline_ms = self.envelope.received_at_ms.saturating_add(self.waits.rule_call_ms);
        self.call(service, inputs, Caller::Rule { rule: rule.to_owned() }, deadline_ms);
        Ok(())
    }

    fn respond(&mut self, request: Option<&ReplyTo>, body: Value) -> Result<(), String> {
        let to = request.ok_or("respond: no request woke this rule")?.clone();
        self.effect(Effect::Response { to, body });
        Ok(())
    }
}

/// Who calls a service of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// An application, which waits.
    Application {
        /// The envelope by which it asked.
        request: EnvelopeId,
    },
    /// A rule, which goes on.
    Rule {
        /// Its name.
        rule: String,
    },
}

/// What is said of a call that was taken out of the record without a reply: the answer to an
/// application that waits, and a note.
#[must_use]
pub fn no_reply(call: PendingCall) -> (Option<Effect>, Note) {
    let answered = |request| Effect::Answer { request, answer: Answer::TimedOut };
    let PendingCall { service, request, rule, .. } = call;
    (request.map(answered), Note::NoReply { service, rule })
}

impl Outcome {
    /// A step that changed the record; `encode` turns one effect into the messages that carry it.
    #[must_use]
    pub fn changed<I>(
        mut record: Record,
        envelope: &Envelope,
        effects: &[Effect],
        notes: Vec<Note>,
        encode: impl Fn(&Effect, &DeviceKey, &Record) -> I,
    ) -> Self
    where
        I: IntoIterator<Item = (Destination, String)>,
    {
        record.counts.applied += 1;
        let device = &envelope.device;
        let told = effects.iter().flat_map(|effect| encode(effect, device, &record));
        let outgoing = number(&envelope.id, told);
        Self { record, changed: true, outgoing, notes, refused: None }
    }

    /// A step that refuses its input: the record stays, the sender is told, the input is kept as
    /// a dead letter.
    #[must_use]
    pub fn refused(
        record: Record,
        envelope: &EnvelopeId,
        reject: Reject,
        told: impl IntoIterator<Item = (Destination, String)>,
    ) -> Self {
        Self { refused: Some(reject), ..Self::unchanged(record, envelope, told) }
    }

    /// A step that leaves the record as it is; whoever asked is told.
    #[must_use]
    pub fn unchanged(
        record: Record,
        envelope: &EnvelopeId,
        told: impl IntoIterator<Item = (Destination, String)>,
    ) -> Self {
        let outgoing = number(envelope, told);
        Self { record, changed: false, outgoing, notes: Vec::new(), refused: None }
    }
}

/// One sentence over all faults, for people.
#[must_use]
pub fn sentence(what: &str, faults: &[Fault]) -> String {
    let each: Vec<String> =
        faults.iter().map(|fault| format!("{}: {}", fault.identifier, fault.reason)).collect();
    format!("{what}: {}", each.join("; "))
}

fn number(
    envelope: &EnvelopeId,
    messages: impl IntoIterator<Item = (Destination, String)>,
) -> Vec<Outgoing> {
    messages
        .into_iter()
        .enumerate()
        .map(|(index, (to, payload))| Outgoing { id: format!("{envelope}.{index}"), to, payload })
        .collect()
}
