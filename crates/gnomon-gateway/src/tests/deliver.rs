//! Messages to clients: sessions, windows, receipts.

use gnomon_host::port::sessions::{SavedSession, SessionChange};

use super::*;

fn sent(position: u64, id: u16, dup: bool) -> Answer {
    let payload = format!("m{position}").into_bytes();
    Answer::Publish { topic: "t".into(), payload, id: Some(id), dup }
}

fn listener(board: &Arc<Switchboard>, v5: bool, hello: &Hello) -> Peer {
    let mut peer = Peer::connected(board, v5, hello);
    assert_eq!(peer.say(&subscribe(v5, &["t"])), [Answer::Suback(vec![1])]);
    peer
}

fn changes(keeps: &[Keep]) -> Vec<String> {
    let of = |keep: &Keep| match &keep.change {
        SessionChange::Save { .. } => "save".to_owned(),
        SessionChange::Forget { .. } => "forget".to_owned(),
        SessionChange::HandOver { to, .. } => format!("hand over to {to}"),
        SessionChange::Keep { key, .. } => format!("keep {key}"),
        SessionChange::Drop { key, .. } => format!("drop {key}"),
    };
    keeps.iter().map(of).collect()
}

#[test]
fn a_session_that_is_resumed_sends_again_what_was_in_flight() {
    for v5 in VERSIONS {
        let (board, mut log) = (board(), Log::new());
        let one = hello("a").persistent();
        let mut peer = listener(&board, v5, &one);
        (1..=2).for_each(|position| drop(log.route(&board, position, "t")));
        assert_eq!(peer.deliver(), [sent(1, 1, false), sent(2, 2, false)]);
        peer.say(&puback(1));
        peer.end("lost");
        log.route(&board, 3, "t");
        let mut peer = Peer::new(&board, v5);
        let found = peer.say(&one.bytes(v5));
        assert_eq!(found, [Answer::Connack { present: true, code: 0 }]);
        let found = peer.deliver();
        assert_eq!(found[0], sent(2, 2, true), "same packet id, and DUP");
        assert!(
            matches!(&found[1..], [Answer::Publish { payload, dup: false, .. }] if payload == b"m3")
        );
        assert_eq!(log.settled(), [1, 2, 3]);
    }
}

#[test]
fn a_clean_session_is_forgotten() {
    for v5 in VERSIONS {
        for clean_first in [true, false] {
            let (board, mut log) = (board(), Log::new());
            let first = if clean_first { hello("a") } else { hello("a").persistent() };
            listener(&board, v5, &first).end("lost");
            log.route(&board, 1, "t");
            let next = Hello { clean: !clean_first, ..hello("a") };
            let mut peer = Peer::new(&board, v5);
            let found = peer.say(&next.bytes(v5));
            assert_eq!(found, [Answer::Connack { present: false, code: 0 }]);
            log.route(&board, 2, "t");
            assert_eq!(peer.deliver(), []);
            let expected: &[u64] = &[1, 2];
            assert_eq!(log.settled(), expected);
        }
    }
}

#[test]
fn a_device_that_changes_its_dialect_gets_only_what_that_implies() {
    let alink = hello("a").named("room-1&coldroom").persistent();
    let plain = hello("a").named("coldroom/room-1").persistent();
    let set = "/sys/coldroom/room-1/thing/service/property/set";
    for v5 in VERSIONS {
        let (board, log) = (board(), Log::new());
        let mut peer = Peer::connected(&board, v5, &alink);
        log.route(&board, 1, set);
        assert_eq!(peer.deliver().len(), 1);
        peer.end("lost");
        let mut peer = Peer::connected(&board, v5, &plain);
        log.route(&board, 2, set);
        assert_eq!(peer.deliver(), []);
    }
}

#[test]
fn no_more_is_in_flight_than_the_client_asks_for() {
    for (v5, receive_max, inflight_max, expected) in
        [(false, None, 3, 3), (true, None, 3, 3), (true, Some(2), 3, 2), (true, Some(9), 3, 3)]
    {
        let board = board_with(GatewayOptions { inflight_max, ..Default::default() });
        let log = Log::new();
        let mut peer = listener(&board, v5, &Hello { receive_max, ..hello("a") });
        (1..=5).for_each(|position| drop(log.route(&board, position, "t")));
        assert_eq!(peer.deliver().len(), expected);
        assert_eq!(peer.deliver(), []);
        peer.say(&puback(1));
        let next = expected as u64 + 1;
        let found = peer.deliver();
        assert!(
            matches!(&found[..], [Answer::Publish { payload, .. }] if *payload == format!("m{next}").into_bytes()),
            "{found:?}"
        );
    }
}

#[test]
fn a_position_is_settled_by_the_last_acknowledgement() {
    let (board, mut log) = (board(), Log::new());
    let mut one = listener(&board, true, &hello("a").persistent());
    let mut other = listener(&board, false, &hello("b").persistent());
    let mut clean = listener(&board, true, &hello("c"));
    assert!(log.route(&board, 1, "t").is_empty(), "in memory while they listen");
    for peer in [&mut one, &mut other, &mut clean] {
        assert_eq!(peer.deliver(), [sent(1, 1, false)]);
    }
    one.say(&puback(1));
    assert_eq!(log.settled(), [0; 0]);
    other.say(&puback(1));
    assert_eq!(log.settled(), [1]);
}

#[test]
fn a_message_for_a_client_that_is_away_is_kept() {
    for v5 in VERSIONS {
        let (board, mut log) = (board(), Log::new());
        let one = hello("a").persistent();
        listener(&board, v5, &one).end("lost");
        let keeps = log.route(&board, 1, "t");
        assert_eq!(changes(&keeps), ["keep 1"]);
        assert_eq!(log.settled(), [0; 0], "not before it is durable");
        drop(keeps);
        assert_eq!(log.settled(), [1]);
        let mut peer = Peer::connected(&board, v5, &one);
        peer.link.keeps.clear();
        assert_eq!(peer.deliver(), [sent(1, 1, false)]);
        peer.say(&puback(1));
        assert_eq!(changes(&peer.link.keeps), ["drop 1"]);
    }
}

#[test]
fn what_waits_when_the_connection_ends_is_kept() {
    let (board, mut log) = (board(), Log::new());
    let mut peer = listener(&board, true, &hello("a").persistent());
    log.route(&board, 1, "t");
    peer.deliver();
    log.route(&board, 2, "t");
    peer.link.keeps.clear();
    peer.link.end("lost", NOW);
    assert_eq!(changes(&peer.link.keeps), ["keep 1", "keep 2", "save"]);
    assert_eq!(log.settled(), [0; 0]);
    peer.link.keeps.clear();
    assert_eq!(log.settled(), [1, 2]);
}

#[test]
fn the_oldest_message_goes_when_too_many_wait() {
    let board = board_with(GatewayOptions { offline_messages_max: 2, ..Default::default() });
    let log = Log::new();
    let one = hello("a").persistent();
    listener(&board, true, &one).end("lost");
    (1..=2).for_each(|position| drop(log.route(&board, position, "t")));
    assert_eq!(changes(&log.route(&board, 3, "t")), ["drop 1", "keep 3"]);
    let mut peer = Peer::connected(&board, true, &one);
    assert_eq!(peer.deliver(), [sent(2, 1, false), sent(3, 2, false)]);
}

#[test]
fn messages_that_wait_are_bounded_by_bytes() {
    let payload = Bytes::from(vec![b'x'; 10_000]);
    let route = |board: &Switchboard, log: &Log, position| {
        let message = Arc::new(Downlink::new("t", 1, payload.clone()));
        changes(&board.broker().route(&message, &log.receipt(position)))
    };
    let options = GatewayOptions { waiting_bytes_max: 25_000, ..Default::default() };
    let (board, mut log) = (board_with(options), Log::new());
    let one = hello("a").persistent();
    let mut peer = listener(&board, true, &one);
    for position in 1..=3 {
        assert!(route(&board, &log, position).is_empty());
    }
    assert_eq!(log.settled(), [3], "a slow client does not get the newest");
    assert_eq!(peer.deliver().len(), 2);
    assert!(route(&board, &log, 4).is_empty());
    assert_eq!(peer.deliver().len(), 1, "room again once the client reads");
    peer.end("lost");
    assert_eq!(route(&board, &log, 5), ["drop 1", "drop 2", "keep 5"], "the oldest goes");
    let options = GatewayOptions { waiting_bytes_max: 1, ..Default::default() };
    let board = board_with(options);
    let mut peer = listener(&board, true, &one);
    assert!(route(&board, &log, 6).is_empty());
    assert_eq!(peer.deliver().len(), 1, "one message always fits");
}

/// What a store would load after these changes.
fn saved(keeps: Vec<Keep>) -> Vec<SavedSession> {
    let mut saved = SavedSession {
        client: "a".into(),
        gateway: "g".into(),
        document: Bytes::new(),
        pending: vec![],
    };
    for keep in keeps {
        match keep.change {
            SessionChange::Save { document, .. } | SessionChange::HandOver { document, .. } => {
                saved.document = document
            }
            SessionChange::Keep { key, message, .. } => saved.pending.push((key, message)),
            SessionChange::Drop { key, .. } => saved.pending.retain(|(one, _)| *one != key),
            SessionChange::Forget { .. } => saved.pending.clear(),
        }
    }
    vec![saved]
}

#[test]
fn what_an_earlier_process_kept_is_known_by_its_log_and_keeps_its_identifiers() {
    let (first, log) = (board(), Log::new());
    let one = hello("a").persistent();
    let mut peer = Peer::connected(&first, true, &one);
    let subscribe_as_7 = [0x82, 9, 0, 9, 2, 0x0b, 7, 0, 1, b't', 1];
    assert_eq!(peer.say(&subscribe_as_7), [Answer::Suback(vec![1])]);
    peer.link.end("lost", NOW);
    let mut keeps = std::mem::take(&mut peer.link.keeps);
    keeps.extend(log.route(&first, 41, "t"));
    let second = board();
    assert!(second.broker().restore(saved(keeps), NOW).is_empty());
    assert!(log.route(&second, 41, "t").is_empty(), "the log delivers it again");
    let message = Arc::new(Downlink::new("t", 1, "other".into()));
    let other = Receipt::new("y".into(), 41, log.done.clone());
    assert_eq!(changes(&second.broker().route(&message, &other)), ["keep 2"], "made anew");
    let mut peer = Peer::connected(&second, true, &one);
    peer.link.deliver(NOW);
    let mut bytes = peer.link.wire.take_output();
    assert!(bytes.starts_with(&[0x32, 11, 0, 1, b't', 0, 1, 2, 0x0b, 7, b'm']), "{bytes:?}");
    let Answer::Publish { payload, .. } = answers(true, &mut bytes).remove(1) else { panic!() };
    assert_eq!(payload, b"other");
}

#[test]
fn a_saved_session_is_forgotten_when_its_client_says_so() {
    let expiry_0_disconnect = [0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0];
    let board = board();
    let mut peer = listener(&board, true, &hello("a").persistent());
    peer.link.keeps.clear();
    peer.say(&expiry_0_disconnect);
    assert_eq!(changes(&peer.link.keeps), ["forget"]);
    peer.end("disconnected");
    listener(&board, true, &hello("a").persistent()).end("lost");
    let mut peer = Peer::new(&board, true);
    peer.say(&Hello { clean: false, ..hello("a") }.bytes(true));
    assert_eq!(changes(&peer.link.keeps), ["forget"]);
    let mut fresh = Peer::new(&board, true);
    fresh.say(&hello("b").bytes(true));
    assert!(fresh.link.keeps.is_empty(), "nothing was saved");
}

#[test]
fn a_session_expires_when_its_client_stays_away() {
    let (board, one) = (board(), hello("a").persistent());
    let expired = |elapsed_ms| changes(&board.broker().tick(elapsed_ms).0);
    // The clock on the wall is of no account, whatever it says.
    let mut peer = listener(&board, true, &one);
    peer.link.end("lost", NOW - 1_000_000_000);
    assert!(expired(3_600_000).is_empty(), "nobody knows how much of this it was away");
    assert!(expired(3_599_999).is_empty());
    let mut peer = Peer::connected(&board, true, &one);
    assert!(expired(9_999_999).is_empty());
    peer.link.end("lost", NOW);
    assert!(expired(1).is_empty() && expired(3_599_999).is_empty());
    assert_eq!(expired(1), ["forget"]);
}

#[test]
fn a_restored_session_has_been_away_already() {
    let (first, second) = (board(), board());
    let mut peer = listener(&first, true, &hello("a").persistent());
    peer.link.end("lost", NOW);
    second.broker().restore(saved(std::mem::take(&mut peer.link.keeps)), NOW + 3_599_999);
    assert!(second.broker().tick(0).0.is_empty());
    assert_eq!(changes(&second.broker().tick(1).0), ["forget"]);
}

#[test]
fn messages_too_large_for_the_client_leave_room_in_its_window() {
    let board = board_with(GatewayOptions { inflight_max: 2, ..Default::default() });
    let mut log = Log::new();
    let one = Hello { packet_max: Some(60), ..hello("a").persistent() };
    let mut peer = listener(&board, true, &one);
    peer.say(&subscribe(true, &["t/#"]));
    let long = format!("t/{}", "x".repeat(80));
    (1..=5).for_each(|position| drop(log.route(&board, position, &long)));
    log.route(&board, 6, "t");
    assert_eq!(peer.deliver().len(), 1);
    assert_eq!(log.settled(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_message_too_large_for_the_client_is_left_out() {
    let (board, mut log) = (board(), Log::new());
    let one = Hello { packet_max: Some(60), ..hello("a").persistent() };
    let mut peer = Peer::connected(&board, true, &one);
    let long = format!("t/{}", "x".repeat(80));
    peer.say(&subscribe(true, &["t/#"]));
    log.route(&board, 1, &long);
    log.route(&board, 2, "t");
    let found = peer.deliver();
    assert!(
        matches!(&found[..], [Answer::Publish { payload, .. }] if payload == b"m2"),
        "{found:?}"
    );
    assert!(!peer.link.wire.ended);
    assert_eq!(log.settled(), [1]);
}
