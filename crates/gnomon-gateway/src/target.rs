//! One client's share in a message: several of its subscriptions may match, it gets it once.

use std::sync::Arc;

use crate::session::Subscription;
use crate::trie::Subscriber;

/// One client's share in a message.
pub(crate) struct Target {
    pub(crate) client: Arc<str>,
    pub(crate) qos: u8,
    pub(crate) identifiers: Vec<u32>,
    /// Asked for by the client, not only implied by its protocol.
    explicit: bool,
}

impl Target {
    pub(crate) fn of(one: &Subscriber) -> Self {
        Self {
            client: one.client.clone(),
            qos: one.qos,
            identifiers: one.identifier.into_iter().collect(),
            explicit: !one.implicit,
        }
    }

    /// Several subscriptions of one client: the highest QoS that it asked for, all identifiers.
    pub(crate) fn merge(&mut self, one: &Subscriber) {
        match (self.explicit, one.implicit) {
            (true, true) => return,
            (false, false) => self.qos = one.qos,
            (true, false) | (false, true) => self.qos = self.qos.max(one.qos),
        }
        self.explicit |= !one.implicit;
        self.identifiers.extend(one.identifier);
    }
}

pub(crate) fn subscriber(client: &Arc<str>, subscription: &Subscription) -> Subscriber {
    Subscriber {
        client: client.clone(),
        qos: subscription.qos,
        identifier: subscription.identifier,
        no_local: subscription.no_local,
        implicit: false,
    }
}

pub(crate) fn implicit_subscriber(client: &Arc<str>) -> Subscriber {
    let client = client.clone();
    Subscriber { client, qos: 0, identifier: None, no_local: false, implicit: true }
}
