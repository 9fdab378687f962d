//! What devices report: decode, validate, merge, rules.

use std::sync::Arc;

use gnomon_dialect::{Decoded, HappenedEvent, Point, Said, decode, encode};
use gnomon_host::function::Function;
use gnomon_host::port::Stream;
use gnomon_model::turn::sentence;
use gnomon_model::{
    Effect, Envelope, Fault, Models, Outcome, Presence, Record, Reject, RejectKind, ReplyTo, Turn,
    Waits, What,
};
use gnomon_rules::{RuleSet, Wake};
use serde_json::Value;

/// Applies reports, events, requests and presence of devices.
#[derive(Clone)]
pub struct Telemetry {
    /// Thing models of all products.
    pub models: Arc<Models>,
    /// The rules.
    pub rules: RuleSet,
    /// How long what rules begin waits.
    pub waits: Waits,
}

impl Function for Telemetry {
    const NAME: &'static str = "telemetry";
    const STREAM: Stream = Stream::Telemetry;

    fn step(&self, record: Record, envelope: &Envelope) -> Outcome {
        match &envelope.what {
            What::Published { topic, payload, .. } => {
                match decode(topic, payload, envelope.received_at_ms) {
                    Ok(decoded) => self.published(record, envelope, decoded),
                    Err((to, reject)) => refuse(record, envelope, reject, to),
                }
            }
            What::Presence(presence) => self.presence(record, envelope, presence),
            What::Desire { .. }
            | What::Call { .. }
            | What::Acknowledge { .. }
            | What::Due { .. } => {
                let reason = "only what devices say belongs on the telemetry stream";
                refuse(record, envelope, Reject::new(RejectKind::Internal, reason), None)
            }
        }
    }
}

impl Telemetry {
    fn published(&self, record: Record, envelope: &Envelope, decoded: Decoded) -> Outcome {
        let Decoded { said, reply_to } = decoded;
        let Some(model) = self.models.get(&envelope.device.product) else {
            return refuse(record, envelope, unknown_product(envelope), Some(reply_to));
        };
        let mut turn = Turn::new(record, envelope, model).waiting(self.waits);
        turn.record.dialect = reply_to.dialect;
        match said {
            Said::Reports { points, events, faults } => {
                self.reports(turn, points, events, faults, reply_to)
            }
            Said::Event(event) => self.reports(turn, Vec::new(), vec![event], Vec::new(), reply_to),
            Said::Request { name, body } => self.request(turn, &name, &body, reply_to),
            Said::Reply { .. } | Said::Nothing => Outcome::unchanged(turn.record, &envelope.id, []),
        }
    }

    /// Applies what fits of a message that reports; one in which nothing fits is refused.
    fn reports(
        &self,
        mut turn: Turn<'_>,
        points: Vec<Point>,
        events: Vec<HappenedEvent>,
        mut faults: Vec<Fault>,
        to: ReplyTo,
    ) -> Outcome {
        let before = (turn.record.shadow.version, turn.record.counts);
        turn.count_faults(faults.len());
        let mut applied = false;
        for point in points {
            applied |= self.report(&mut turn, point, &mut faults);
        }
        for event in events {
            applied |= self.event(&mut turn, &event, &mut faults);
        }
        let told = Effect::Accepted { to, faults: faults.clone() };
        if applied || faults.is_empty() {
            turn.effect(told);
            return turn.finish(encode);
        }
        let envelope = turn.envelope;
        let mut record = turn.record;
        (record.shadow.version, record.counts) = before;
        let reject = Reject::new(RejectKind::Invalid, sentence("nothing fits the model", &faults));
        let told = encode(&told, &envelope.device, &record);
        Outcome::refused(record, &envelope.id, reject, told)
    }

    fn report(&self, turn: &mut Turn<'_>, point: Point, faults: &mut Vec<Fault>) -> bool {
        let nothing_given = point.values.is_empty();
        let (accepted, refused) = turn.accept_report(point.values);
        faults.extend(refused);
        if accepted.is_empty() && !nothing_given {
            return false;
        }
        let values = turn.report(&accepted, point.time_ms);
        if !values.is_empty() {
            self.rules.run(turn, &Wake::Report { values: &values, time_ms: point.time_ms });
        }
        true
    }

    fn event(&self, turn: &mut Turn<'_>, event: &HappenedEvent, faults: &mut Vec<Fault>) -> bool {
        match turn.model.accept_event(&event.event, &event.outputs) {
            Ok((outputs, refused)) => {
                turn.count_faults(refused.len());
                faults.extend(refused);
                let (name, time_ms) = (event.event.as_str(), event.time_ms);
                self.rules.run(turn, &Wake::Event { name, outputs: &outputs, time_ms });
                true
            }
            Err(fault) => {
                faults.push(fault);
                false
            }
        }
    }

    fn request(&self, mut turn: Turn<'_>, name: &str, body: &Value, to: ReplyTo) -> Outcome {
        let ran = self.rules.run(&mut turn, &Wake::Request { name, body, to: &to });
        if turn.has_responded() {
            return turn.finish(encode);
        }
        let reason =
            if ran == 0 { "no rule answers it" } else { "the rules that ran gave no answer" };
        let reject = Reject::new(RejectKind::NoAnswer, format!("request `{name}`: {reason}"));
        if ran == 0 {
            return refuse(turn.record, turn.envelope, reject, Some(to));
        }
        turn.effect(Effect::Rejected { to, reject });
        turn.finish(encode)
    }

    fn presence(&self, record: Record, envelope: &Envelope, presence: &Presence) -> Outcome {
        let Some(model) = self.models.get(&envelope.device.product) else {
            return refuse(record, envelope, unknown_product(envelope), None);
        };
        let current = &record.presence;
        if !presence.online && (!current.online || current.connection != presence.connection) {
            // The end of a connection that a newer one has replaced.
            return Outcome::unchanged(record, &envelope.id, []);
        }
        let mut turn = Turn::new(record, envelope, model).waiting(self.waits);
        note_presence(&mut turn, presence);
        let (online, reason) = (presence.online, presence.reason.as_str());
        self.rules.run(&mut turn, &Wake::Presence { online, reason });
        if presence.online {
            turn.tell_delta();
        }
        turn.finish(encode)
    }
}

fn note_presence(turn: &mut Turn<'_>, presence: &Presence) {
    if let Some(dialect) = presence.dialect {
        turn.record.dialect = dialect;
    }
    let state = &mut turn.record.presence;
    if state.online != presence.online {
        state.since_ms = turn.envelope.received_at_ms;
    }
    state.online = presence.online;
    state.connection.clone_from(&presence.connection);
    state.reason.clone_from(&presence.reason);
}

fn unknown_product(envelope: &Envelope) -> Reject {
    let product = &envelope.device.product;
    let reason = format!("product `{product}` has no thing model: add schemas/{product}/");
    Reject::new(RejectKind::UnknownProduct, reason)
}

fn refuse(record: Record, envelope: &Envelope, reject: Reject, to: Option<ReplyTo>) -> Outcome {
    let told = to.map(|to| {
        let effect = Effect::Rejected { to, reject: reject.clone() };
        encode(&effect, &envelope.device, &record)
    });
    Outcome::refused(record, &envelope.id, reject, told.into_iter().flatten())
}
