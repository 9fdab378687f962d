//! The form of the files under `cases/`.

use std::fs;
use std::path::Path;

use gnomon_model::{
    Alert, Answer, CallId, Destination, DeviceKey, Dialect, Effect, EnvelopeId, Fault, FaultKind,
    Object, Reject, RejectKind, ReplyTo,
};
use serde::Deserialize;
use serde_json::Value;

/// One file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// What its cases have in common.
    pub(crate) about: String,
    #[serde(default)]
    pub(crate) decode: Vec<DecodeCase>,
    #[serde(default)]
    pub(crate) encode: Vec<EncodeCase>,
}

/// A message of a device: what it says, and what the device is told if nothing else happens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecodeCase {
    pub(crate) name: String,
    pub(crate) topic: String,
    #[serde(default)]
    payload: String,
    /// The payload as hexadecimal digits, where it is no text.
    #[serde(default)]
    payload_hex: String,
    #[serde(default = "received_at_ms")]
    pub(crate) received_at_ms: i64,
    /// `Dialect product/device Kind`; absent: not recognised.
    pub(crate) uplink: Option<String>,
    pub(crate) said: Option<Value>,
    pub(crate) rejected: Option<Rejected>,
    /// Id of the message.
    #[serde(default)]
    pub(crate) id: String,
    /// What the thing model finds wrong with what was said.
    #[serde(default)]
    pub(crate) faults: Vec<FaultCase>,
    #[serde(default)]
    pub(crate) told: Vec<Message>,
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rejected {
    pub(crate) kind: String,
    /// A part of the reason.
    pub(crate) reason: String,
}

/// An effect and the messages that carry it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EncodeCase {
    pub(crate) name: String,
    device: String,
    /// What the record says that the device speaks.
    pub(crate) dialect: Dialect,
    pub(crate) effect: EffectCase,
    pub(crate) messages: Vec<Message>,
}

/// A message to a topic, or (without QoS) to the application that waits for an envelope.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    pub(crate) to: String,
    pub(crate) qos: Option<u8>,
    pub(crate) payload: Option<Value>,
    pub(crate) text: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultCase {
    identifier: String,
    kind: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplyToCase {
    dialect: Dialect,
    topic: String,
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum EffectCase {
    Accepted { to: ReplyToCase, faults: Vec<FaultCase> },
    Rejected { to: ReplyToCase, kind: RejectKind, reason: String },
    Alert(Alert),
    Desired { delta: Object, version: u64, id: CallId },
    Call { id: CallId, service: String, inputs: Object, sync: bool },
    Response { to: ReplyToCase, body: Value },
    Publish { topic: String, payload: String },
    Answer { request: EnvelopeId, answer: Answer },
}

fn received_at_ms() -> i64 {
    1_700_000_000_000
}

/// All tables, with the path of their file.
pub(crate) fn tables() -> Vec<(String, Table)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut tables = Vec::new();
    for dialect in ["plain", "alink"] {
        for entry in fs::read_dir(root.join(dialect)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{dialect}/{}", path.file_name().unwrap().to_string_lossy());
            let text = fs::read_to_string(&path).unwrap();
            let table = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{name}: {why}"));
            tables.push((name, table));
        }
    }
    tables
}

impl DecodeCase {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let digits = self.payload_hex.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        self.payload.bytes().chain(digits.map(byte)).collect()
    }
}

impl EncodeCase {
    pub(crate) fn device(&self) -> DeviceKey {
        let (product, device) = self.device.split_once('/').unwrap();
        DeviceKey::parse(product, device).unwrap()
    }
}

impl Message {
    pub(crate) fn of(to: &Destination, payload: &str) -> Self {
        let (to, qos) = match to {
            Destination::Topic { topic, qos } => (topic.clone(), Some(*qos)),
            Destination::Caller { request } => (request.to_string(), None),
            Destination::Dead => panic!("no effect is encoded for the dead"),
        };
        let text = Some(payload.to_owned());
        Self { to, qos, payload: serde_json::from_str(payload).ok(), text }
    }
}

impl FaultCase {
    pub(crate) fn fault(&self) -> Fault {
        use FaultKind::{
            Array, ArrayItem, Bool, Date, Double, Enum, Float, Int, MissingInput, ReadOnly, Struct,
            Text, Time, UnknownEvent, UnknownMember, UnknownProperty, UnknownService,
        };
        let kinds = [
            Array,
            ArrayItem,
            Bool,
            Date,
            Double,
            Enum,
            Float,
            Int,
            MissingInput,
            ReadOnly,
            Struct,
            Text,
            Time,
            UnknownEvent,
            UnknownMember,
            UnknownProperty,
            UnknownService,
        ];
        let kind = kinds.into_iter().find(|kind| format!("{kind:?}") == self.kind).unwrap();
        Fault { identifier: self.identifier.clone(), kind, reason: self.reason.clone() }
    }
}

impl ReplyToCase {
    fn reply_to(&self) -> ReplyTo {
        let Self { dialect, topic, id } = self;
        ReplyTo { dialect: *dialect, topic: topic.clone(), id: id.clone(), wanted: true }
    }
}

impl EffectCase {
    pub(crate) fn effect(&self) -> Effect {
        match self {
            Self::Accepted { to, faults } => Effect::Accepted {
                to: to.reply_to(),
                faults: faults.iter().map(FaultCase::fault).collect(),
            },
            Self::Rejected { to, kind, reason } => {
                Effect::Rejected { to: to.reply_to(), reject: Reject::new(*kind, reason.clone()) }
            }
            Self::Alert(alert) => Effect::Alert(alert.clone()),
            Self::Desired { delta, version, id } => {
                Effect::Desired { delta: delta.clone(), version: *version, id: *id }
            }
            Self::Call { id, service, inputs, sync } => Effect::Call {
                id: *id,
                service: service.clone(),
                inputs: inputs.clone(),
                sync: *sync,
            },
            Self::Response { to, body } => {
                Effect::Response { to: to.reply_to(), body: body.clone() }
            }
            Self::Publish { topic, payload } => {
                Effect::Publish { topic: topic.clone(), payload: payload.clone() }
            }
            Self::Answer { request, answer } => {
                Effect::Answer { request: request.clone(), answer: answer.clone() }
            }
        }
    }
}
