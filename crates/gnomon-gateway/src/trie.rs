//! Subscriptions by topic filter: a tree of levels.

use std::collections::HashMap;
use std::sync::Arc;

/// Who subscribed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscriber {
    /// MQTT client id of the session.
    pub(crate) client: Arc<str>,
    /// Granted QoS, 0 or 1.
    pub(crate) qos: u8,
    /// MQTT 5 subscription identifier.
    pub(crate) identifier: Option<u32>,
    /// MQTT 5 no local: not what the same client published.
    pub(crate) no_local: bool,
    /// Not asked for by the client, but by its protocol (Alink): only for what functions send.
    pub(crate) implicit: bool,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    /// Subscriptions that end here.
    here: Vec<Subscriber>,
    /// Subscriptions that end with `#` below here.
    below: Vec<Subscriber>,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    root: Node,
}

impl Trie {
    /// Adds a subscription; one of the same client, filter and kind is replaced.
    pub(crate) fn insert(&mut self, filter: &str, subscriber: Subscriber) {
        let subscribers = self.root.place(filter);
        subscribers
            .retain(|one| one.client != subscriber.client || one.implicit != subscriber.implicit);
        subscribers.push(subscriber);
    }

    /// Removes a client's subscription; nothing happens if there is none.
    pub(crate) fn remove(&mut self, filter: &str, client: &str, implicit: bool) {
        self.root.remove(filter, client, implicit);
    }

    /// Calls `found` with each subscription that matches the topic.
    pub(crate) fn each_match<'a>(&'a self, topic: &str, found: &mut impl FnMut(&'a Subscriber)) {
        // A wildcard at the first level never matches a topic that begins with `$`.
        let wild = !topic.starts_with('$');
        self.root.each_match(topic, wild, found);
    }
}

impl Node {
    fn place(&mut self, filter: &str) -> &mut Vec<Subscriber> {
        let (level, rest) = match filter.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (filter, None),
        };
        if level == "#" {
            return &mut self.below;
        }
        let child = self.children.entry(level.into()).or_default();
        match rest {
            Some(rest) => child.place(rest),
            None => &mut child.here,
        }
    }

    fn remove(&mut self, filter: &str, client: &str, implicit: bool) {
        let other = |one: &Subscriber| *one.client != *client || one.implicit != implicit;
        let (level, rest) = match filter.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (filter, None),
        };
        if level == "#" {
            return self.below.retain(other);
        }
        let Some(child) = self.children.get_mut(level) else { return };
        match rest {
            Some(rest) => child.remove(rest, client, implicit),
            None => child.here.retain(other),
        }
        if child.is_empty() {
            self.children.remove(level);
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.here.is_empty() && self.below.is_empty()
    }

    fn each_match<'a>(&'a self, topic: &str, wild: bool, found: &mut impl FnMut(&'a Subscriber)) {
        if wild {
            self.below.iter().for_each(&mut *found);
        }
        let (level, rest) = match topic.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (topic, None),
        };
        let plus = if wild { self.children.get("+") } else { None };
        for child in self.children.get(level).into_iter().chain(plus) {
            match rest {
                Some(rest) => child.each_match(rest, true, found),
                None => {
                    child.here.iter().for_each(&mut *found);
                    // `a/#` matches `a` as well (MQTT 5, 4.7.1.2).
                    child.below.iter().for_each(&mut *found);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gnomon_dialect::topic::{matches, valid_filter, valid_topic};
    use proptest::prelude::*;

    use super::*;

    fn subscriber(client: &str) -> Subscriber {
        Subscriber {
            client: client.into(),
            qos: 1,
            identifier: None,
            no_local: false,
            implicit: false,
        }
    }

    fn found(trie: &Trie, topic: &str) -> Vec<String> {
        let mut found = Vec::new();
        trie.each_match(topic, &mut |one| found.push(one.client.to_string()));
        found.sort();
        found
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_each_filter_alone_matches(
            filters in prop::collection::vec("[$ab+#/]{1,6}", 1..8),
            topic in "[$ab/]{1,6}",
            removed in 0usize..8,
        ) {
            let filters: Vec<_> = filters.into_iter().filter(|one| valid_filter(one)).collect();
            prop_assume!(valid_topic(&topic));
            let mut trie = Trie::default();
            for (at, filter) in filters.iter().enumerate() {
                trie.insert(filter, subscriber(&at.to_string()));
            }
            if let Some(filter) = filters.get(removed) {
                trie.remove(filter, &removed.to_string(), false);
            }
            let mut expected: Vec<_> = filters.iter().enumerate()
                .filter(|(at, filter)| *at != removed && matches(filter, &topic))
                .map(|(at, _)| at.to_string())
                .collect();
            expected.sort();
            prop_assert_eq!(found(&trie, &topic), expected);
        }
    }

    #[test]
    fn a_removed_subscription_leaves_nothing_behind() {
        let mut trie = Trie::default();
        for filter in ["a/b/c", "a/#", "+/b", "#"] {
            trie.insert(filter, subscriber("x"));
            trie.insert(filter, subscriber("x"));
        }
        assert_eq!(found(&trie, "a/b").len(), 3);
        for filter in ["a/b/c", "a/#", "+/b", "#"] {
            trie.remove(filter, "x", false);
        }
        assert!(trie.root.is_empty());
    }
}
