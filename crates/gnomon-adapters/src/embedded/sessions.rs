//! Persistent sessions of the embedded store.

use std::sync::Arc;

use bytes::Bytes;
use gnomon_host::port::{SavedSession, SessionChange, Sessions, StoreError};
use redb::{ReadableTable, Table, WriteTransaction};
use tokio::sync::oneshot;

use super::error::Failure;
use super::file::{SESSION_MESSAGES, SESSIONS};
use super::inbox::Change;
use super::queue::ended;
use super::{Core, Embedded};

impl Sessions for Embedded {
    async fn load_all(&self, gateway: &str) -> Result<Vec<SavedSession>, StoreError> {
        if self.core().is_closed() {
            return Err(StoreError::Closed);
        }
        let (reply, done) = oneshot::channel();
        self.core().inbox.fold(reply).map_err(|refused| refused.store())?;
        done.await.map_err(|_| ended().store())?.map_err(|failure| failure.store())?;
        let core = Arc::clone(&self.life.core);
        let gateway = gateway.to_owned();
        let loaded = tokio::task::spawn_blocking(move || core.load_sessions(&gateway)).await;
        loaded.map_err(|_| ended().store())?.map_err(|failure| failure.store())
    }

    async fn find(&self, client: &str) -> Result<Option<SavedSession>, StoreError> {
        // Its one gateway has all sessions in memory and asks for none.
        let all = self.load_all("").await?;
        Ok(all.into_iter().find(|session| session.client == client))
    }

    async fn change(&self, _gateway: &str, changes: Vec<SessionChange>) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        let sent = self.core().inbox.change(Change { changes, reply });
        sent.map_err(|refused| refused.store())?;
        done.await.map_err(|_| ended().store())?
    }
}

impl Core {
    fn load_sessions(&self, gateway: &str) -> Result<Vec<SavedSession>, Failure> {
        self.file.read(|transaction| {
            let sessions = transaction.open_table(SESSIONS)?;
            let messages = transaction.open_table(SESSION_MESSAGES)?;
            let mut saved = Vec::new();
            for row in sessions.iter()? {
                let (client, document) = row?;
                let client = client.value();
                let mut pending = Vec::new();
                for row in messages.range((client, 0)..=(client, u64::MAX))? {
                    let (key, message) = row?;
                    pending.push((key.value().1, Bytes::copy_from_slice(message.value())));
                }
                let document = Bytes::copy_from_slice(document.value());
                let (client, gateway) = (client.to_owned(), gateway.to_owned());
                saved.push(SavedSession { client, gateway, document, pending });
            }
            Ok(saved)
        })
    }
}

/// Makes all changes in order.
pub(super) fn apply(transaction: &WriteTransaction, all: &[SessionChange]) -> Result<(), Failure> {
    if all.is_empty() {
        return Ok(());
    }
    let mut sessions = transaction.open_table(SESSIONS)?;
    let mut messages = transaction.open_table(SESSION_MESSAGES)?;
    let mut changes = all.iter();
    changes.try_for_each(|change| apply_one(&mut sessions, &mut messages, change))
}

fn apply_one(
    sessions: &mut Table<'_, &str, &[u8]>,
    messages: &mut Table<'_, (&str, u64), &[u8]>,
    change: &SessionChange,
) -> Result<(), Failure> {
    match change {
        SessionChange::Save { client, document }
        | SessionChange::HandOver { client, document, .. } => {
            sessions.insert(&**client, &**document)?;
        }
        SessionChange::Forget { client } => {
            sessions.remove(&**client)?;
            messages.retain_in((&**client, 0)..=(&**client, u64::MAX), |_, _| false)?;
        }
        SessionChange::Keep { client, key, message } => {
            if sessions.get(&**client)?.is_some() {
                messages.insert((&**client, *key), &**message)?;
            }
        }
        SessionChange::Drop { client, key } => {
            messages.remove((&**client, *key))?;
        }
    }
    Ok(())
}
