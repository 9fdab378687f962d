//! Persistent MQTT sessions: what must survive a restart of the gateway.

use std::future::Future;

use bytes::Bytes;

use super::store::StoreError;

/// A persistent session as saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSession {
    /// MQTT client id.
    pub client: String,
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

/// Persistent sessions. Cheap to clone; clones share one store.
pub trait Sessions: Clone + Send + Sync + 'static {
    /// Loads all saved sessions, sorted by client id.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn load_all(&self) -> impl Future<Output = Result<Vec<SavedSession>, StoreError>> + Send;

    /// Makes the changes in order, all or none, and returns once they are durable.
    ///
    /// # Errors
    /// It is not known whether they were made: make them again.
    fn change(
        &self,
        changes: Vec<SessionChange>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
