//! Sessions in memory.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use gnomon_host::port::{SavedSession, SessionChange, Sessions, StoreError};

use super::{Memory, lock};

/// Client to session.
pub(super) type Saved = BTreeMap<String, Session>;

/// One session as saved.
pub(super) struct Session {
    gateway: String,
    document: Bytes,
    pending: BTreeMap<u64, Bytes>,
}

impl Session {
    fn saved(&self, client: &str) -> SavedSession {
        SavedSession {
            client: client.to_owned(),
            gateway: self.gateway.clone(),
            document: self.document.clone(),
            pending: self.pending.iter().map(|(key, bytes)| (*key, bytes.clone())).collect(),
        }
    }
}

impl Sessions for Memory {
    async fn gateways(&self) -> Result<Vec<String>, StoreError> {
        let sessions = lock(&self.open_store()?.sessions);
        let names: BTreeSet<_> = sessions.values().map(|session| session.gateway.clone()).collect();
        Ok(names.into_iter().collect())
    }

    async fn load_all(&self, gateway: &str) -> Result<Vec<SavedSession>, StoreError> {
        let sessions = lock(&self.open_store()?.sessions);
        let own = sessions.iter().filter(|(_, session)| session.gateway == gateway);
        Ok(own.map(|(client, session)| session.saved(client)).collect())
    }

    async fn find(&self, client: &str) -> Result<Option<SavedSession>, StoreError> {
        let sessions = lock(&self.open_store()?.sessions);
        Ok(sessions.get(client).map(|session| session.saved(client)))
    }

    async fn change(&self, gateway: &str, changes: Vec<SessionChange>) -> Result<(), StoreError> {
        let mut sessions = lock(&self.open_store()?.sessions);
        changes.into_iter().for_each(|change| change_one(&mut sessions, gateway, change));
        Ok(())
    }
}

fn change_one(sessions: &mut Saved, gateway: &str, change: SessionChange) {
    let found = sessions.get_mut(change.client());
    if found.as_ref().is_some_and(|session| session.gateway != gateway) {
        return;
    }
    match (change, found) {
        (SessionChange::Save { document, .. }, Some(session)) => session.document = document,
        (SessionChange::Save { client, document }, None) => {
            let (gateway, pending) = (gateway.to_owned(), BTreeMap::new());
            sessions.insert(client, Session { gateway, document, pending });
        }
        (SessionChange::Forget { client }, Some(_)) => drop(sessions.remove(&client)),
        (SessionChange::HandOver { to, document, .. }, Some(session)) => {
            (session.gateway, session.document) = (to, document);
        }
        (SessionChange::Keep { key, message, .. }, Some(session)) => {
            session.pending.insert(key, message);
        }
        (SessionChange::Drop { key, .. }, Some(session)) => drop(session.pending.remove(&key)),
        (_, None) => {}
    }
}
