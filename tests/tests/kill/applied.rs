//! What is to be seen of a device when all it sent is applied.

use std::time::Duration;

use gnomon_tests::http;
use gnomon_tests::server::Server;
use serde_json::Value;

use crate::publisher;

/// Every applied report adds 1 to the version: it is the number of messages sent.
pub(crate) fn assert_applied_once(server: &Server, index: usize, sent: u64, within: Duration) {
    let url = server.url(&format!("/v1/devices/coldroom/{}/shadow", publisher::name(index)));
    let shadow = http::get_until(&url, within, |shadow| {
        shadow["version"].as_u64().is_some_and(|version| version >= sent)
    });
    assert_eq!(fault(&shadow, sent), None, "device {index}");
}

/// What is wrong with the shadow of a device that has sent so many messages.
fn fault(shadow: &Value, sent: u64) -> Option<String> {
    if shadow["version"] != sent {
        return Some(format!("{} of {sent} messages are applied", shadow["version"]));
    }
    let found = &shadow["state"]["reported"]["temperature"];
    let last = publisher::temperature(sent - 1);
    (*found != last).then(|| format!("{found} is reported, and {last} was said last"))
}

/// The check finds what it is for.
mod controls {
    use serde_json::json;

    use super::*;

    fn shadow(version: u64, last: u64) -> Value {
        let temperature = publisher::temperature(last);
        json!({ "version": version, "state": { "reported": { "temperature": temperature } } })
    }

    #[test]
    fn a_lost_a_doubled_and_a_swapped_message_are_seen_in_a_shadow() {
        assert_eq!(fault(&shadow(10, 9), 10), None);
        for (what, wrong) in
            [("lost", shadow(9, 9)), ("doubled", shadow(11, 9)), ("swapped", shadow(10, 8))]
        {
            assert!(fault(&wrong, 10).is_some(), "{what}");
        }
    }
}
