//! Calls to devices, the replies that answer them, and the deadlines of those that nothing answers.

use std::sync::Arc;

use gnomon_dialect::{Decoded, Said, decode, encode};
use gnomon_host::function::Function;
use gnomon_host::port::Stream;
use gnomon_model::record::PendingCall;
use gnomon_model::turn::{Caller, no_reply, sentence};
use gnomon_model::{
    Answer, CallId, Effect, Envelope, Models, Object, Outcome, Record, Reject, RejectKind, ReplyTo,
    ThingModel, Turn, What,
};

/// What a device replied: outputs, or its own code and words for a failure.
type Reply = Result<Object, (i64, String)>;

/// Applies calls of applications and replies of devices.
#[derive(Clone)]
pub struct Rrpc {
    /// Thing models of all products.
    pub models: Arc<Models>,
}

impl Function for Rrpc {
    const NAME: &'static str = "rrpc";
    const STREAM: Stream = Stream::Calls;

    fn step(&self, record: Record, envelope: &Envelope) -> Outcome {
        match &envelope.what {
            What::Call { service, inputs, timeout_ms } => {
                self.call(record, envelope, service, inputs, *timeout_ms)
            }
            What::Published { topic, payload, .. } => {
                match decode(topic, payload, envelope.received_at_ms) {
                    Ok(Decoded { said: Said::Reply { call, result }, reply_to }) => {
                        self.reply(record, envelope, call, result, reply_to)
                    }
                    Ok(_) => Outcome::unchanged(record, &envelope.id, []),
                    Err((to, reject)) => refuse(record, envelope, reject, to),
                }
            }
            What::Due { .. } => time_out(record, envelope),
            What::Presence(_) | What::Desire { .. } | What::Acknowledge { .. } => {
                let reason = "only calls, replies and deadlines belong on the calls stream";
                refuse(record, envelope, Reject::new(RejectKind::Internal, reason), None)
            }
        }
    }
}

impl Rrpc {
    fn model(&self, envelope: &Envelope) -> Result<&ThingModel, Reject> {
        let product = &envelope.device.product;
        self.models.get(product).map(AsRef::as_ref).ok_or_else(|| {
            let reason = format!("product `{product}` has no thing model");
            Reject::new(RejectKind::UnknownProduct, reason)
        })
    }

    fn call(
        &self,
        record: Record,
        envelope: &Envelope,
        service: &str,
        inputs: &Object,
        timeout_ms: u32,
    ) -> Outcome {
        let accepted = self.model(envelope).and_then(|model| {
            let inputs = accept(model, &record, envelope, service, inputs)?;
            Ok((model, inputs))
        });
        match accepted {
            Ok((model, inputs)) => {
                let mut turn = Turn::new(record, envelope, model);
                let deadline_ms = envelope.received_at_ms + i64::from(timeout_ms);
                let caller = Caller::Application { request: envelope.id.clone() };
                turn.call(service, inputs, caller, deadline_ms);
                turn.finish(encode)
            }
            Err(reject) => {
                let answer = Answer::Refused(reject);
                let answer = Effect::Answer { request: envelope.id.clone(), answer };
                let told = encode(&answer, &envelope.device, &record);
                Outcome::unchanged(record, &envelope.id, told)
            }
        }
    }

    /// Hands a reply to whoever waits. The first one wins; a late one is refused.
    fn reply(
        &self,
        mut record: Record,
        envelope: &Envelope,
        call: CallId,
        result: Reply,
        to: ReplyTo,
    ) -> Outcome {
        let model = match self.model(envelope) {
            Ok(model) => model,
            Err(reject) => return refuse(record, envelope, reject, Some(to)),
        };
        let in_time = |call: &PendingCall| call.deadline_ms >= envelope.received_at_ms;
        if !record.calls.get(&call).is_some_and(in_time) {
            let reason = format!("no call {call} waits: it was answered, timed out or never made");
            return refuse(
                record,
                envelope,
                Reject::new(RejectKind::UnknownCall, reason),
                Some(to),
            );
        }
        let pending = record.calls.remove(&call).expect("it was found a line above");
        let mut turn = Turn::new(record, envelope, model);
        let answer = answer(&mut turn, &pending, result);
        if let Some(request) = pending.request {
            turn.effect(Effect::Answer { request, answer });
        }
        turn.finish(encode)
    }
}

/// Takes out the calls to which no reply came in time. Needs no thing model: that of a product may
/// be gone by now.
fn time_out(mut record: Record, envelope: &Envelope) -> Outcome {
    let over = record.time_out_calls(envelope.received_at_ms);
    if over.is_empty() {
        return Outcome::unchanged(record, &envelope.id, []);
    }
    let (effects, notes): (Vec<_>, Vec<_>) = over.into_iter().map(no_reply).unzip();
    let effects: Vec<Effect> = effects.into_iter().flatten().collect();
    Outcome::changed(record, envelope, &effects, notes, encode)
}

fn accept(
    model: &ThingModel,
    record: &Record,
    envelope: &Envelope,
    service: &str,
    inputs: &Object,
) -> Result<Object, Reject> {
    let accepted = model
        .accept_inputs(service, inputs)
        .map_err(|faults| Reject::new(RejectKind::Invalid, sentence("inputs", &faults)))?;
    if !record.presence.online {
        let reason = format!("{} is offline", envelope.device);
        return Err(Reject::new(RejectKind::Offline, reason));
    }
    Ok(accepted)
}

fn answer(turn: &mut Turn<'_>, pending: &PendingCall, result: Reply) -> Answer {
    match result {
        Ok(outputs) => {
            let (outputs, faults) = turn.model.accept_outputs(&pending.service, &outputs);
            turn.count_faults(faults.len());
            Answer::Outputs { outputs }
        }
        Err((code, message)) => Answer::Failed { code, message },
    }
}

fn refuse(record: Record, envelope: &Envelope, reject: Reject, to: Option<ReplyTo>) -> Outcome {
    let told = to.map(|to| {
        let effect = Effect::Rejected { to, reject: reject.clone() };
        encode(&effect, &envelope.device, &record)
    });
    Outcome::refused(record, &envelope.id, reject, told.into_iter().flatten())
}
