//! Nouns and algebra of Gnomon: ids, envelope, thing model, shadow, alert, action, effect, record.
//!
//! Invariants: everything here is a pure function of its arguments; equal arguments give equal
//! results, byte for byte, on every platform.
//! Never: a clock, randomness, IO, an async function, another crate of this workspace.

pub mod action;
pub mod alert;
pub mod due;
pub mod effect;
pub mod envelope;
pub mod id;
pub mod json;
pub mod record;
pub mod reject;
pub mod shadow;
pub mod thing;
pub mod turn;

pub use action::{Action, Severity};
pub use alert::{Alert, AlertStatus};
pub use due::{DueKind, DueTimes, Waits};
pub use effect::{Answer, Destination, Effect, Note, Outcome, Outgoing, ReplyTo};
pub use envelope::{Dialect, Envelope, Presence, What};
pub use id::{CallId, DeviceKey, DeviceName, EnvelopeId, ProductKey};
pub use record::{Ledger, PendingCall, Record};
pub use reject::{Reject, RejectKind};
pub use thing::{Fault, FaultKind, Models, ThingModel};
pub use turn::Turn;

/// A JSON object: keys sorted by code point, so that equal objects have equal text.
pub type Object = serde_json::Map<String, serde_json::Value>;
