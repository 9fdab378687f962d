//! CONNECT, presence, subscriptions, and what ends a connection.

use super::*;

#[test]
fn a_client_is_who_its_user_name_says() {
    let device = "coldroom/room-1";
    for (v5, user, client, key, online) in [
        (false, None, "a", Some("a"), false),
        (true, None, "a", Some("a"), false),
        (false, Some(device), "a", Some("a"), true),
        (true, Some(device), "a", Some("a"), true),
        (false, Some("room-1&coldroom"), "a|securemode=3,ts=1|", Some("a"), true),
        (true, Some("room-1&coldroom"), "a|securemode=3,ts=2|", Some("a"), true),
        (false, Some("unknown/room-1"), "a", None, false),
        (true, Some("unknown/room-1"), "a", None, false),
        (false, Some("gibberish"), "a", None, false),
        (true, Some("gibberish"), "a", None, false),
    ] {
        let mut peer = Peer::new(&board(), v5);
        let found = peer.say(&Hello { user, ..hello(client) }.bytes(v5));
        let code = match (key, v5) {
            (Some(_), _) => 0,
            (None, true) => 0x87,
            (None, false) => 5,
        };
        assert_eq!(found, [Answer::Connack { present: false, code }], "{user:?} {v5}");
        assert_eq!(peer.link.wire.ended, key.is_none());
        assert_eq!(peer.link.client.as_ref().map(|client| &*client.id), key);
        let expected: Vec<_> =
            online.then(|| presence(device, true, "connected")).into_iter().collect();
        assert_eq!(said(&peer.link.next), expected, "{user:?} {v5}");
    }
}

#[test]
fn a_client_without_an_id_is_given_one_unless_it_wants_a_session() {
    for (v5, client, clean, code) in [
        (false, "", true, 0),
        (false, "", false, 2),
        (false, "|ts=1|", false, 2),
        (true, "", true, 0),
        (true, "", false, 0),
    ] {
        let mut peer = Peer::new(&board(), v5);
        peer.link.receive(&Hello { clean, ..hello(client) }.bytes(v5), NOW);
        let mut bytes = peer.link.wire.take_output();
        let told = String::from_utf8_lossy(&bytes).contains("auto-test-");
        assert_eq!(told, v5, "only MQTT 5 has a word for it");
        let found = answers(v5, &mut bytes);
        assert_eq!(found, [Answer::Connack { present: false, code }]);
        let assigned = peer.link.client.is_some_and(|one| one.id.starts_with("auto-test-"));
        assert_eq!(assigned, code == 0);
    }
}

#[test]
fn a_device_is_online_as_long_as_its_connection() {
    for v5 in VERSIONS {
        let one = Peer::connected(&board(), v5, &hello("a").named("coldroom/room-1"));
        let gone = presence("coldroom/room-1", false, "keep-alive timeout");
        assert_eq!(one.end("keep-alive timeout"), [gone]);
    }
}

#[test]
fn who_listens_to_a_devices_calls_without_a_name_plays_it() {
    for v5 in VERSIONS {
        let board = board();
        let mut peer = Peer::connected(&board, v5, &hello("a"));
        let calls = "devices/coldroom/room-1/calls/#";
        peer.say(&subscribe(v5, &[calls, "devices/coldroom/+/calls/#", "devices/no/d/calls/#"]));
        assert_eq!(said(&peer.link.next), [presence("coldroom/room-1", true, "subscribed")]);
        peer.append(&Ok(()));
        peer.say(&subscribe(v5, &[calls]));
        assert_eq!(said(&peer.link.next), [], "it is online already");
        assert_eq!(peer.end("disconnected"), [presence("coldroom/room-1", false, "disconnected")]);
    }
}

#[test]
fn a_device_that_is_played_twice_is_online_until_the_last_filter_goes() {
    let (calls, one_call) =
        ("devices/coldroom/room-1/calls/#", "devices/coldroom/room-1/calls/x/+");
    let online = presence("coldroom/room-1", true, "subscribed");
    let offline = presence("coldroom/room-1", false, "unsubscribed");
    for v5 in VERSIONS {
        let mut peer = Peer::connected(&board(), v5, &hello("a"));
        peer.say(&subscribe(v5, &[calls, calls]));
        peer.say(&subscribe(v5, &[calls]));
        peer.say(&unsubscribe(v5, &[calls]));
        assert_eq!(said(&peer.link.next), [online.clone(), offline.clone()]);
        peer.append(&Ok(()));
        peer.say(&subscribe(v5, &[calls, one_call]));
        peer.say(&unsubscribe(v5, &[calls]));
        assert_eq!(said(&peer.link.next), std::slice::from_ref(&online), "one filter is left");
    }
}

#[test]
fn a_session_that_is_resumed_plays_its_device_again() {
    let calls = "devices/coldroom/room-1/calls/#";
    for v5 in VERSIONS {
        let (board, one) = (board(), hello("a").persistent());
        let mut peer = Peer::connected(&board, v5, &one);
        peer.say(&subscribe(v5, &[calls]));
        peer.append(&Ok(()));
        assert_eq!(peer.end("lost"), [presence("coldroom/room-1", false, "lost")]);
        let mut peer = Peer::new(&board, v5);
        peer.say(&one.bytes(v5));
        assert_eq!(said(&peer.link.next), [presence("coldroom/room-1", true, "connected")]);
        peer.append(&Ok(()));
        peer.say(&unsubscribe(v5, &[calls]));
        assert_eq!(said(&peer.link.next), [presence("coldroom/room-1", false, "unsubscribed")]);
    }
}

#[test]
fn a_connection_beyond_the_limit_is_told_so() {
    let board = board_with(GatewayOptions { connections_max: 1, ..Default::default() });
    for (v5, code) in [(false, 3), (true, 0x97)] {
        let link = Link::admit(&board, 1).unwrap();
        let mut peer = Peer { v5, link };
        let found = peer.say(&hello("a").persistent().bytes(v5));
        assert_eq!(found, [Answer::Connack { present: false, code }]);
        assert!(peer.link.wire.ended && !peer.link.is_connected());
    }
    assert!(Link::admit(&board, 0).is_some_and(|link| !link.is_beyond_limit));
    assert!(Link::admit(&board, 1000).is_none(), "refusals are bounded as well");
}

#[test]
fn filters_are_granted_by_what_they_match() {
    let (own, other) = ("devices/coldroom/room-1/#", "devices/coldroom/room-2/#");
    for (user, filter, v5_code) in [
        (None, "#", 1),
        (None, "lab/+/x", 1),
        (None, "$share/g/lab/#", 0x9e),
        (Some("coldroom/room-1"), own, 1),
        (Some("coldroom/room-1"), other, 0x87),
        (Some("coldroom/room-1"), "#", 0x87),
        (Some("coldroom/room-1"), "$share/g/devices/coldroom/room-1/#", 0x9e),
    ] {
        for v5 in VERSIONS {
            let mut peer = Peer::connected(&board(), v5, &Hello { user, ..hello("a") });
            let code = if v5 || v5_code < 2 { v5_code } else { 0x80 };
            assert_eq!(
                peer.say(&subscribe(v5, &[filter])),
                [Answer::Suback(vec![code])],
                "{filter}"
            );
        }
    }
}

#[test]
fn subscriptions_of_one_client_are_bounded() {
    for (v5, refused) in [(false, 0x80), (true, 0x97)] {
        let board = board_with(GatewayOptions { subscriptions_max: 2, ..Default::default() });
        let mut peer = Peer::connected(&board, v5, &hello("a"));
        let found = peer.say(&subscribe(v5, &["a", "b", "c", "a"]));
        assert_eq!(found, [Answer::Suback(vec![1, 1, refused, 1])]);
    }
}

#[test]
fn a_second_connection_takes_the_session_over() {
    for v5 in VERSIONS {
        let board = board();
        let mut old = Peer::connected(&board, v5, &hello("a").persistent());
        let mut log = Log::new();
        old.say(&subscribe(v5, &["t"]));
        log.route(&board, 1, "t");
        assert_eq!(old.deliver().len(), 1);
        let mut new = Peer::new(&board, v5);
        let found = new.say(&hello("a").persistent().bytes(v5));
        assert_eq!(found, [Answer::Connack { present: true, code: 0 }]);
        old.say(&puback(1));
        assert_eq!(log.settled(), [0; 0], "what the old one says about packet ids counts no more");
        assert!(!old.link.deliver(NOW));
        let expected: Vec<_> = if v5 { vec![Answer::Disconnect(0x8e)] } else { vec![] };
        assert_eq!(old.heard(), expected);
        assert!(old.link.wire.ended);
        old.end("taken over");
        assert_eq!(new.deliver().len(), 1, "the session is the new one's");
        assert!(new.link.deliver(NOW));
    }
}

#[test]
fn a_will_is_published_unless_the_client_leaves_in_order() {
    let own = "devices/coldroom/room-1/telemetry";
    let (user, telemetry) =
        (Some("coldroom/room-1"), Said::Published(Stream::Telemetry, own.into()));
    let general = Said::Message { topic: "lab/will".into(), payload: "gone".into() };
    for (user, topic, in_order, expected) in [
        (user, own, false, Some(&telemetry)),
        (user, own, true, None),
        (user, "devices/coldroom/room-2/telemetry", false, None),
        (None, "lab/will", false, Some(&general)),
        (None, "lab/will", true, None),
    ] {
        for v5 in VERSIONS {
            let one = Hello { user, ..hello("a") }.will(topic);
            let mut peer = Peer::connected(&board(), v5, &one);
            if in_order {
                peer.say(&DISCONNECT);
            }
            let mut left = peer.end("ended");
            left.retain(|said| !matches!(said, Said::Presence { .. }));
            assert_eq!(left.first(), expected, "{topic} {in_order}");
        }
    }
}

#[test]
fn what_is_not_mqtt_ends_the_connection() {
    let connect = hello("a").bytes(true);
    let http = b"GET / HTTP/1.1\r\n".repeat(10);
    let twice = [connect.clone(), connect].concat();
    for bytes in [&http[..], &[0; 8], &[0xff; 8], &puback(1), &twice] {
        let mut peer = Peer::new(&board(), true);
        peer.say(bytes);
        assert!(peer.link.wire.ended, "{bytes:?}");
        assert!(!peer.link.may_read());
    }
}

#[test]
fn a_packet_beyond_the_limit_is_refused_before_it_is_read() {
    for v5 in VERSIONS {
        let board = board_with(GatewayOptions { packet_bytes_max: 100, ..Default::default() });
        let mut peer = Peer::connected(&board, v5, &hello("a"));
        let claim = [0x32, 0xff, 0xff, 0x7f, 0];
        let expected: Vec<_> = if v5 { vec![Answer::Disconnect(0x95)] } else { vec![] };
        assert_eq!(peer.say(&claim), expected);
        assert!(peer.link.wire.ended);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]
    #[test]
    fn arbitrary_bytes_never_panic(
        v5: bool,
        connected: bool,
        chunks in proptest::collection::vec(
            proptest::collection::vec(proptest::prelude::any::<u8>(), 1..40), 1..8),
    ) {
        let mut peer = Peer::new(&board(), v5);
        if connected {
            peer.link.receive(&hello("a").bytes(v5), NOW);
        }
        for chunk in chunks {
            peer.link.receive(&chunk, NOW);
            peer.link.deliver(NOW);
        }
        peer.link.end("done", NOW);
    }
}
