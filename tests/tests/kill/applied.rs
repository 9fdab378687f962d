//! What is to be seen of a device when all it sent is applied.

use std::time::Duration;

use gnomon_tests::http;
use gnomon_tests::server::Server;

use crate::publisher;

/// Every applied report adds 1 to the version: it is the number of messages sent.
pub(crate) fn assert_applied_once(server: &Server, index: usize, sent: u64, within: Duration) {
    let url = server.url(&format!("/v1/devices/coldroom/{}/shadow", publisher::name(index)));
    let shadow = http::get_until(&url, within, |shadow| {
        shadow["version"].as_u64().is_some_and(|version| version >= sent)
    });
    assert_eq!(shadow["version"], sent, "messages applied of device {index}");
    let last = publisher::temperature(sent - 1);
    assert_eq!(shadow["state"]["reported"]["temperature"], last, "of device {index}");
}
