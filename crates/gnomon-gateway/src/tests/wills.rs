//! Wills that are delayed (MQTT 5, 3.1.3.2.2).

use mqtt_protocol_core::mqtt::packet::{ContentType, WillDelayInterval};

use super::*;
use crate::publish::messages_of_wills;

/// A client with a will that is delayed by 60 seconds.
fn delayed(clean: bool, expiry_s: u32) -> Vec<u8> {
    let connect = v5_0::Connect::builder().client_id("a").unwrap().clean_start(clean);
    let connect = connect.will_message("lab/will", b"gone", Qos::AtLeastOnce, false).unwrap();
    let delay = WillDelayInterval::new(60).unwrap().into();
    let kind = ContentType::new("text/plain").unwrap().into();
    let expiry = SessionExpiryInterval::new(expiry_s).unwrap().into();
    let connect = connect.will_props(vec![delay, kind]).props(vec![expiry]);
    connect.build().unwrap().to_continuous_buffer()
}

fn connected(board: &Arc<Switchboard>, bytes: &[u8]) -> Peer {
    let mut peer = Peer::new(board, true);
    let found = peer.say(bytes);
    assert!(matches!(found[..], [Answer::Connack { code: 0, .. }]), "{found:?}");
    peer
}

/// How many wills are published after time has passed.
fn published(board: &Arc<Switchboard>, elapsed_ms: u64) -> usize {
    let (_, wills) = board.broker().tick(elapsed_ms);
    messages_of_wills(board, wills, NOW).len()
}

#[test]
fn a_will_waits_as_long_as_it_asks_for_but_not_longer_than_its_session() {
    for (expiry_s, at_ms) in [(3600, 60_000), (30, 30_000)] {
        let board = board();
        assert_eq!(connected(&board, &delayed(true, expiry_s)).end("lost"), []);
        assert_eq!(published(&board, 1_000_000), 0, "the first tick begins to count");
        assert_eq!(published(&board, at_ms - 1), 0);
        assert_eq!(published(&board, 1), 1);
        assert_eq!(published(&board, 1_000_000), 0, "once");
    }
    let board = board();
    let left = connected(&board, &delayed(true, 0)).end("lost");
    assert_eq!(left.len(), 1, "the session ended with the connection");
}

#[test]
fn a_client_that_is_back_in_time_has_no_will_to_be_published() {
    let board = board();
    connected(&board, &delayed(true, 3600)).end("lost");
    published(&board, 0);
    let mut back = connected(&board, &delayed(false, 3600));
    assert_eq!(published(&board, 1_000_000), 0);
    // Taken over: the session goes on.
    let other = connected(&board, &delayed(false, 3600));
    assert!(!back.link.deliver(NOW));
    assert_eq!(back.end("taken over"), []);
    // A clean start ends the session, with and without a connection.
    let clean = connected(&board, &delayed(true, 3600));
    assert_eq!(other.end("taken over").len(), 1);
    clean.end("lost");
    connected(&board, &delayed(true, 3600));
    assert_eq!(published(&board, 0), 1);
}

#[test]
fn a_will_has_properties_and_is_published_when_the_gateway_stops() {
    let board = board();
    connected(&board, &delayed(true, 3600)).end("lost");
    let wills = board.broker().take_wills();
    let messages = messages_of_wills(&board, wills, NOW);
    let message = Downlink::decode(&messages[0].body).unwrap();
    assert_eq!((message.topic.as_str(), message.qos), ("lab/will", 1));
    assert_eq!(message.properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(published(&board, 1_000_000), 0);
}

#[test]
fn a_client_that_leaves_in_order_has_no_will() {
    let board = board();
    let mut peer = connected(&board, &delayed(true, 3600));
    peer.say(&DISCONNECT);
    peer.end("disconnected");
    published(&board, 0);
    assert_eq!(published(&board, 1_000_000), 0);
}
