//! What all connections share, and the ids that this process makes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use gnomon_model::{EnvelopeId, Models};

use crate::broker::Broker;
use crate::options::GatewayOptions;
use crate::retransmit::Retransmits;

/// What all connections share.
pub(crate) struct Switchboard {
    pub(crate) options: GatewayOptions,
    pub(crate) broker: Mutex<Broker>,
    pub(crate) retransmits: Retransmits,
    pub(crate) models: Arc<ArcSwap<Models>>,
    pub(crate) partitions: u16,
    /// Name of the gateway: another one each time that it begins. Begins every id that it makes.
    pub(crate) process: String,
    pub(crate) made: AtomicU64,
}

impl Switchboard {
    pub(crate) fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Name under which sessions are saved: one for all processes if there is one at a time.
    pub(crate) fn owner(&self) -> &str {
        if self.options.has_peers { &self.process } else { "gateway" }
    }

    /// A new number, unique in this process.
    pub(crate) fn number(&self) -> u64 {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    /// A new id, unique in this deployment.
    pub(crate) fn id(&self) -> EnvelopeId {
        let id = format!("{}-{:x}", self.process, self.number());
        EnvelopeId::parse(&id).expect("a process prefix and a number are a word")
    }
}
