//! TLS to a real Mosquitto.

use std::path::Path;

use bytes::Bytes;
use gnomon_adapters::memory::Memory;
use gnomon_bridge::{BridgeOptions, Tls, TlsError, Version};
use gnomon_host::downlink::Downlink;
use gnomon_tests::certificate::{Authority, Identity};
use gnomon_tests::stack::{Kind, Part};

use crate::downlink::{append, settled};
use crate::world::{Bridge, options};

fn broker(authority: &Authority, more: &[&str]) -> Part {
    let Identity { certificate, key } = authority.issue("broker");
    let lines =
        [("certfile", &certificate), ("keyfile", &key), ("cafile", &authority.certificate())]
            .map(|(word, path)| format!("{word} {}", path.display()));
    let lines: Vec<&str> = lines.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Part::start_with(Kind::Mosquitto, &lines)
}

fn with_tls(broker: &Part, version: Version, tls: Tls) -> BridgeOptions {
    BridgeOptions { tls: Some(tls), ..options(broker.address().port(), version) }
}

/// The broker has acknowledged a message to a device.
async fn assert_carries(options: BridgeOptions) {
    let queue = Memory::new(1);
    let bridge = Bridge::start(options, queue.clone());
    append(&queue, "1", &Downlink::new("a", 1, Bytes::from_static(b"over TLS"))).await;
    settled(&queue, 1).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_known_by_its_authority() {
    let authority = Authority::new();
    let broker = broker(&authority, &[]);
    for version in [Version::V3, Version::V5] {
        let tls = Tls::load(Some(&authority.certificate()), None, None).unwrap();
        assert_carries(with_tls(&broker, version, tls)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_shows_its_certificate() {
    let authority = Authority::new();
    let broker = broker(&authority, &["require_certificate true"]);
    let own = authority.issue("bridge");
    let tls = Tls::load(Some(&authority.certificate()), Some(&own.certificate), Some(&own.key));
    assert_carries(with_tls(&broker, Version::V5, tls.unwrap())).await;
}

#[test]
fn files_that_cannot_be_used_are_told_in_one_line_with_their_setting() {
    let authority = Authority::new();
    let own = authority.issue("bridge");
    let other = authority.issue("other");
    let ca = authority.certificate();
    let nowhere = Path::new("/nowhere/ca.pem");
    let cases: [(Result<Tls, TlsError>, &str); 5] = [
        (Tls::load(Some(nowhere), None, None), "broker_ca /nowhere/ca.pem"),
        (Tls::load(Some(&own.key), None, None), "broker_ca"),
        (Tls::load(Some(&ca), Some(&own.certificate), None), "broker_key"),
        (Tls::load(Some(&ca), Some(nowhere), Some(&own.key)), "broker_cert /nowhere/ca.pem"),
        (Tls::load(Some(&ca), Some(&own.certificate), Some(&other.key)), "belong together"),
    ];
    for (loaded, part) in cases {
        let text = loaded.unwrap_err().to_string();
        assert!(text.contains(part) && text.lines().count() == 1, "{part}: {text}");
        assert!(!text.contains("BEGIN"), "{text}");
    }
}
