//! What applications desire of a device.

use std::sync::Arc;

use gnomon_dialect::encode;
use gnomon_host::function::Function;
use gnomon_host::port::Stream;
use gnomon_model::turn::sentence;
use gnomon_model::{
    Answer, Effect, Envelope, Models, Object, Outcome, Record, Reject, RejectKind, Turn, Waits,
    What,
};
use gnomon_rules::{RuleSet, Wake};

/// Applies desired state of applications.
#[derive(Clone)]
pub struct Shadow {
    /// Thing models of all products.
    pub models: Arc<Models>,
    /// The rules.
    pub rules: RuleSet,
    /// How long what rules begin waits.
    pub waits: Waits,
}

impl Function for Shadow {
    const NAME: &'static str = "shadow";
    const STREAM: Stream = Stream::Shadow;

    fn step(&self, record: Record, envelope: &Envelope) -> Outcome {
        let What::Desire { patch, expected_version } = &envelope.what else {
            let reason = "only desired state belongs on the shadow stream";
            let reject = Reject::new(RejectKind::Internal, reason);
            return Outcome::refused(record, &envelope.id, reject, []);
        };
        match self.desire(&record, envelope, patch, *expected_version) {
            Ok(patch) => self.apply(record, envelope, &patch),
            Err(reject) => {
                let answer = Effect::Answer {
                    request: envelope.id.clone(),
                    answer: Answer::Refused(reject),
                };
                let told = encode(&answer, &envelope.device, &record);
                Outcome::unchanged(record, &envelope.id, told)
            }
        }
    }
}

impl Shadow {
    fn desire(
        &self,
        record: &Record,
        envelope: &Envelope,
        patch: &Object,
        expected_version: Option<u64>,
    ) -> Result<Object, Reject> {
        let product = &envelope.device.product;
        let model = self.models.get(product).ok_or_else(|| {
            let reason = format!("product `{product}` has no thing model");
            Reject::new(RejectKind::UnknownProduct, reason)
        })?;
        let current = record.shadow.version;
        if let Some(expected) = expected_version.filter(|expected| *expected != current) {
            let reason = format!("version {expected} is expected, {current} is current");
            return Err(Reject::new(RejectKind::Conflict, reason));
        }
        model
            .accept_desired_onto(&record.shadow.desired, patch)
            .map_err(|faults| Reject::new(RejectKind::Invalid, sentence("desired state", &faults)))
    }

    fn apply(&self, record: Record, envelope: &Envelope, patch: &Object) -> Outcome {
        let model = &self.models[&envelope.device.product];
        let mut turn = Turn::new(record, envelope, model).waiting(self.waits);
        if turn.desire(patch) {
            self.rules.run(&mut turn, &Wake::Shadow { patch });
        }
        let version = turn.record.shadow.version;
        let answer = Answer::Desired { version };
        turn.effect(Effect::Answer { request: envelope.id.clone(), answer });
        turn.finish(encode)
    }
}
