//! Alerts after they were raised: a person acknowledges one, or is reminded of it.
//!
//! Raising, clearing and the first delivery are made in the step of the message that causes them, so
//! that an alert costs one hop. See: docs/alerts.md

use gnomon_dialect::encode;
use gnomon_host::function::Function;
use gnomon_host::port::Stream;
use gnomon_model::{
    Alert, AlertStatus, Answer, Effect, Envelope, Note, Outcome, Record, Reject, RejectKind, Waits,
    What,
};

/// Applies acknowledgements of people, and reminds them.
#[derive(Debug, Clone, Copy)]
pub struct Alerts {
    /// After how long somebody is reminded.
    pub waits: Waits,
}

impl Function for Alerts {
    const NAME: &'static str = "alert";
    const STREAM: Stream = Stream::Alerts;

    fn step(&self, record: Record, envelope: &Envelope) -> Outcome {
        match &envelope.what {
            What::Acknowledge { alert, by } => acknowledge(record, envelope, alert, by),
            What::Due { .. } => self.remind(record, envelope),
            What::Published { .. }
            | What::Presence(_)
            | What::Desire { .. }
            | What::Call { .. } => {
                let reason = "only acknowledgements and reminders belong on the alerts stream";
                let reject = Reject::new(RejectKind::Internal, reason);
                Outcome::refused(record, &envelope.id, reject, [])
            }
        }
    }
}

/// Notes who has seen an alert, and tells its subscribers and whoever asked. An alert that was
/// acknowledged already stays as it is: the first one has seen it.
fn acknowledge(mut record: Record, envelope: &Envelope, id: &str, by: &str) -> Outcome {
    let found = record.alerts.values_mut().find(|alert| alert.id == id);
    let was_open = found.as_ref().is_some_and(|alert| alert.is_open());
    let acknowledged = acknowledged(found, envelope, id, by);
    let request = envelope.id.clone();
    let alert = match acknowledged {
        Ok(alert) => alert,
        Err(reject) => {
            let answer = Effect::Answer { request, answer: Answer::Refused(reject) };
            let told = encode(&answer, &envelope.device, &record);
            return Outcome::unchanged(record, &envelope.id, told);
        }
    };
    let answer = Answer::Acknowledged { alert: Box::new(alert.clone()) };
    let answer = Effect::Answer { request, answer };
    if !was_open {
        let told = encode(&answer, &envelope.device, &record);
        return Outcome::unchanged(record, &envelope.id, told);
    }
    let effects = [Effect::Alert(alert), answer];
    Outcome::changed(record, envelope, &effects, Vec::new(), encode)
}

/// The alert once it is acknowledged.
fn acknowledged(
    found: Option<&mut Alert>,
    envelope: &Envelope,
    id: &str,
    by: &str,
) -> Result<Alert, Reject> {
    let Some(alert) = found else {
        let device = &envelope.device;
        let reason =
            format!("{device} has no alert `{id:.80}`, or one raised since took its place");
        return Err(Reject::new(RejectKind::UnknownAlert, reason));
    };
    if alert.status == AlertStatus::Cleared {
        let reason = format!("alert `{id:.80}` is cleared since {}", alert.at);
        return Err(Reject::new(RejectKind::AlertCleared, reason));
    }
    alert.acknowledge(by, envelope.received_at_ms);
    Ok(alert.clone())
}

impl Alerts {
    /// Tells every alert again whose reminder is due.
    fn remind(&self, mut record: Record, envelope: &Envelope) -> Outcome {
        let (now_ms, before) = (envelope.received_at_ms, record.due_times());
        let mut effects = Vec::new();
        for alert in record.alerts.values_mut() {
            if alert.remind(now_ms, self.waits) {
                effects.push(Effect::Alert(alert.clone()));
            }
        }
        if record.due_times() == before {
            return Outcome::unchanged(record, &envelope.id, []);
        }
        let count = effects.len() as u64;
        let notes = if count == 0 { Vec::new() } else { vec![Note::Reminded { count }] };
        Outcome::changed(record, envelope, &effects, notes, encode)
    }
}
