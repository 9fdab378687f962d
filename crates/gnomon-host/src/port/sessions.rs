//! Persistent MQTT sessions: what must survive a restart of the gateway.
//!
//! Each session belongs to the gateway that saved it or to which it was handed over, and only that
//! one changes it.

use std::future::Future;

use bytes::Bytes;

use super::store::StoreError;

/// A persistent session as saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSession {
    /// MQTT client id.
    pub client: String,
    /// Name of the gateway that it belongs to.
    pub gateway: String,
    /// The gateway's own document: subscriptions, expiry.
    pub document: Bytes,
    /// Undelivered messages in order: key (unique in the session, increasing) and bytes.
    pub pending: Vec<(u64, Bytes)>,
}

/// One change of what is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionChange {
    /// Saves or replaces the document of a client.
    Save {
        /// MQTT client id.
        client: String,
        /// The document.
        document: Bytes,
    },
    /// Forgets the client, its document and its pending messages.
    Forget {
        /// MQTT client id.
        client: String,
    },
    /// Makes the session another gateway's, with this document; nothing happens if it is not saved.
    HandOver {
        /// MQTT client id.
        client: String,
        /// Name of the gateway that it belongs to from now on.
        to: String,
        /// The document.
        document: Bytes,
    },
    /// Keeps an undelivered message; the same key again replaces it. Nothing happens if the client is
    /// not saved, so that a straggler cannot bring a forgotten session back.
    Keep {
        /// MQTT client id.
        client: String,
        /// Key of the message.
        key: u64,
        /// The message.
        message: Bytes,
    },
    /// Drops a message that was delivered; nothing happens if there is none.
    Drop {
        /// MQTT client id.
        client: String,
        /// Key of the message.
        key: u64,
    },
}

impl SessionChange {
    /// The client whose session it changes.
    #[must_use]
    pub fn client(&self) -> &str {
        match self {
            Self::Save { client, .. }
            | Self::Forget { client }
            | Self::HandOver { client, .. }
            | Self::Keep { client, .. }
            | Self::Drop { client, .. } => client,
        }
    }
}

/// Persistent sessions. Cheap to clone; clones share one store.
///
/// A store that only one process can open has one gateway, whatever its name.
pub trait Sessions: Clone + Send + Sync + 'static {
    /// Names of the gateways that have sessions, and of those that had and were not forgotten.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn gateways(&self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send {
        async { Ok(vec!["gateway".to_owned()]) }
    }

    /// Forgets a gateway that has no sessions any more.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn forget_gateway(
        &self,
        _gateway: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }

    /// Loads all sessions of a gateway, sorted by client id.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn load_all(
        &self,
        gateway: &str,
    ) -> impl Future<Output = Result<Vec<SavedSession>, StoreError>> + Send;

    /// Loads the session of one client, whosever it is.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn find(
        &self,
        client: &str,
    ) -> impl Future<Output = Result<Option<SavedSession>, StoreError>> + Send;

    /// Makes changes of a gateway in order, all or none, and returns once they are durable. What
    /// would change the session of another gateway is left out: this one has lost it.
    ///
    /// # Errors
    /// It is not known whether they were made: make them again.
    fn change(
        &self,
        gateway: &str,
        changes: Vec<SessionChange>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
