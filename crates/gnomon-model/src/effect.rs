//! Effect is what a step decides; outgoing is its form on the wire, kept in the outbox.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Alert, CallId, Dialect, EnvelopeId, Fault, Object, Record, Reject};

/// How to answer the message that a device sent, in the device's own format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    /// Wire format of the message.
    pub dialect: Dialect,
    /// Topic that the message came on.
    pub topic: String,
    /// The message's own id as text (Alink `id`), empty when it has none.
    pub id: String,
    /// False when the device asked for silence (Alink `sys.ack` = 0).
    pub wanted: bool,
}

/// What a step decides. A dialect turns it into [`Outgoing`] messages.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The message was applied, except for the parts named by `faults`.
    Accepted {
        /// Whom to tell, and how.
        to: ReplyTo,
        /// Identifier -> why that part was not applied, in order.
        faults: Vec<Fault>,
    },
    /// The message was not applied at all.
    Rejected {
        /// Whom to tell, and how.
        to: ReplyTo,
        /// Why.
        reject: Reject,
    },
    /// An alert changed its status.
    Alert(Alert),
    /// What is desired and not reported, for the device.
    Desired {
        /// Attribute -> desired value.
        delta: Object,
        /// Version of the shadow.
        version: u64,
        /// Id for dialects that number their requests.
        id: CallId,
    },
    /// A call to the device.
    Call {
        /// Id by which the reply is recognised.
        id: CallId,
        /// Identifier of the service.
        service: String,
        /// Input -> value.
        inputs: Object,
        /// Whether the model declares the service synchronous.
        sync: bool,
    },
    /// A rule's response to a device's request.
    Response {
        /// The request's topic and id.
        to: ReplyTo,
        /// Body of the response.
        body: Value,
    },
    /// A message to any topic.
    Publish {
        /// Full topic.
        topic: String,
        /// Bytes as text.
        payload: String,
    },
    /// An answer to the application that waits for this envelope.
    Answer {
        /// The envelope that asked.
        request: EnvelopeId,
        /// What to say.
        answer: Answer,
    },
}

/// What an application that waits is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The desired state was accepted; version of the shadow after it.
    Desired {
        /// Version after the change.
        version: u64,
    },
    /// The device replied to the call.
    Outputs {
        /// Output -> value.
        outputs: Object,
    },
    /// The device replied to the call with a failure of its own.
    Failed {
        /// The device's code.
        code: i64,
        /// The device's words.
        message: String,
    },
    /// The device did not reply to the call in time.
    TimedOut,
    /// The alert is acknowledged; as it is now.
    Acknowledged {
        /// The alert.
        alert: Box<Alert>,
    },
    /// The request was refused.
    Refused(Reject),
}

/// Where an outgoing message goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// To the subscribers of a topic, at a QoS of 0 or 1.
    Topic {
        /// Full topic.
        topic: String,
        /// 0 or 1.
        qos: u8,
    },
    /// To the application that waits for an envelope; the payload is an [`Answer`].
    Caller {
        /// The envelope that asked.
        request: EnvelopeId,
    },
    /// To the dead letters.
    Dead,
}

/// An effect on the wire: what the outbox holds and the queue carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Stable id: id of the envelope, a dot, index in its step. The same when sent again.
    pub id: String,
    /// Where it goes.
    pub to: Destination,
    /// The bytes, which are always text.
    pub payload: String,
}

/// Something a step saw that people should: the shell logs and counts it.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// A rule wrote to the log.
    Log {
        /// Name of the rule.
        rule: String,
        /// The line.
        text: String,
    },
    /// A rule failed; its actions of this evaluation are void.
    RuleFailed {
        /// Name of the rule.
        rule: String,
        /// `file:line` where it failed.
        at: String,
        /// What went wrong.
        message: String,
    },
    /// A rule ran to its end.
    RuleRan {
        /// Name of the rule.
        rule: String,
    },
    /// A rule's action could not be carried out (unknown service, bad input ...); the others were.
    ActionRefused {
        /// Name of the rule.
        rule: String,
        /// Which action, and why not.
        message: String,
    },
    /// Reported attributes older than what the shadow holds: kept out of it.
    Late {
        /// How many attributes.
        count: u64,
    },
    /// Parts of a message that did not fit the thing model.
    Faults {
        /// How many parts.
        count: u64,
    },
    /// The device did not reply to a call in time.
    NoReply {
        /// Identifier of the service.
        service: String,
        /// The rule that called; none when an application did.
        rule: Option<String>,
    },
    /// Alerts that nobody has acknowledged were told again.
    Reminded {
        /// How many.
        count: u64,
    },
}

/// What one step decided.
#[derive(Debug)]
pub struct Outcome {
    /// The record after the step; untouched unless `changed`.
    pub record: Record,
    /// Whether the record must be committed before anything goes out.
    pub changed: bool,
    /// What goes out, in order.
    pub outgoing: Vec<Outgoing>,
    /// What people should see.
    pub notes: Vec<Note>,
    /// Why the message can never be applied: it becomes a dead letter.
    pub refused: Option<Reject>,
}
