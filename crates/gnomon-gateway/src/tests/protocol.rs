//! What is not allowed, and how it is told.

use mqtt_protocol_core::mqtt::packet::AuthenticationMethod;

use super::*;

/// Where the protocol level and the flags of a CONNECT stand, if its body is short.
const LEVEL: usize = 8;
const FLAGS: usize = 9;

fn refused(code: u8) -> Vec<Answer> {
    vec![Answer::Connack { present: false, code }]
}

#[test]
fn a_connect_that_cannot_be_read_is_refused_with_a_reason_in_mqtt_5_only() {
    let with = |v5: bool, at: usize, byte: u8| {
        let mut bytes = hello("a").bytes(v5);
        bytes[at] = byte;
        bytes
    };
    let old = b"\x10\x0f\0\x06MQIsdp\x03\x02\0\0\0\x01a".to_vec();
    for (bytes, expected) in [
        (old, refused(1)),
        (with(false, LEVEL, 3), refused(1)),
        (with(false, LEVEL, 0), refused(1)),
        (with(true, LEVEL, 6), refused(0x84)),
        (with(false, FLAGS, 0x03), vec![]),
        (with(true, FLAGS, 0x03), refused(0x81)),
        // Will QoS 3; a QoS without a will.
        (with(true, FLAGS, 0x1e), refused(0x81)),
        (with(false, FLAGS, 0x0a), vec![]),
        // The client id's length is beyond the packet.
        (with(false, 13, 9), vec![]),
        (with(true, 18, 9), refused(0x85)),
        // Session expiry 0 becomes a property that CONNECT does not have.
        (with(true, 13, 0x02), refused(0x82)),
        // Flags of the fixed header, and what does not begin with CONNECT.
        (with(true, 0, 0x11), vec![]),
        (vec![0xc0, 0], vec![]),
    ] {
        for half in 1..bytes.len() {
            let mut peer = Peer::new(&board(), true);
            let mut found = peer.say(&bytes[..half]);
            found.extend(peer.say(&bytes[half..]));
            assert_eq!(found, expected, "{bytes:?}");
            assert!(peer.link.wire.ended && !peer.link.is_connected());
        }
    }
}

#[test]
fn what_breaks_the_protocol_is_told_to_mqtt_5_once() {
    let connect = hello("b").bytes(true);
    for (bytes, code) in [
        // Flags of the fixed header of SUBSCRIBE; a packet type that does not exist.
        (&[0x80, 2, 0, 9][..], 0x81),
        (&[0, 0], 0x81),
        // A length of five bytes; a packet only a server sends; a second CONNECT.
        (&[0xc0, 0x80, 0x80, 0x80, 0x80, 1], 0x81),
        (&[0x90, 3, 0, 9, 0], 0x82),
        (&connect, 0x82),
        // An unused packet id; a subscription without filters; QoS 3.
        (&puback(7), 0x82),
        (&[0x36, 6, 0, 1, b't', 0, 1, 0], 0x81),
        // A topic alias, with none allowed.
        (&[0x30, 7, 0, 1, b't', 3, 0x23, 0, 1], 0x94),
        (&[0xf0, 0], 0x82),
    ] {
        let mut peer = Peer::connected(&board(), true, &hello("a"));
        assert_eq!(peer.say(bytes), [Answer::Disconnect(code)], "{bytes:?}");
        assert!(peer.link.wire.ended && !peer.link.has_ended_in_order());
        // In one go with CONNECT: accepted first.
        let mut peer = Peer::new(&board(), true);
        let found = peer.say(&[hello("a").bytes(true), bytes.to_vec()].concat());
        let accepted = Answer::Connack { present: false, code: 0 };
        assert_eq!(found, [accepted, Answer::Disconnect(code)], "{bytes:?}");
    }
    for bytes in [&[0x80, 2, 0, 9][..], &[0, 0], &[0x90, 3, 0, 9, 0]] {
        let mut peer = Peer::connected(&board(), false, &hello("a"));
        assert_eq!(peer.say(bytes), []);
        assert!(peer.link.wire.ended);
    }
}

#[test]
fn what_a_connect_asks_for_and_is_not_served_is_told() {
    let method = AuthenticationMethod::new("SCRAM-SHA-256").unwrap().into();
    let connect = v5_0::Connect::builder().client_id("a").unwrap();
    let scram = connect.props(vec![method]).build().unwrap().to_continuous_buffer();
    let will = |qos, retain| {
        let connect = v5_0::Connect::builder().client_id("a").unwrap();
        let connect = connect.will_message("lab/will", b"gone", qos, retain).unwrap();
        connect.build().unwrap().to_continuous_buffer()
    };
    for (bytes, code) in [
        (scram, 0x8c),
        (will(Qos::AtLeastOnce, true), 0x9a),
        (will(Qos::ExactlyOnce, false), 0x9b),
        (will(Qos::AtLeastOnce, false), 0),
    ] {
        let mut peer = Peer::new(&board(), true);
        assert_eq!(peer.say(&bytes), refused(code));
        assert_eq!(peer.link.wire.ended, code != 0);
    }
}

#[test]
fn a_session_that_ends_with_its_connection_stays_so() {
    let expiry_60_disconnect = [0xe0, 7, 0, 5, 0x11, 0, 0, 0, 60];
    for (one, expected) in
        [(hello("a"), vec![Answer::Disconnect(0x82)]), (hello("a").persistent(), vec![])]
    {
        let mut peer = Peer::connected(&board(), true, &one);
        assert_eq!(peer.say(&expiry_60_disconnect), expected);
        assert_eq!(peer.link.has_ended_in_order(), expected.is_empty());
        assert!(peer.link.wire.ended);
    }
}

#[test]
fn a_publish_has_properties_of_a_client_only() {
    for (properties, code) in [
        (&[0x0b, 5][..], Some(0x82)),
        (&[0x08, 0, 3, b'a', b'/', b'+'], Some(0x82)),
        (&[0x08, 0, 1, b'#'], Some(0x82)),
        (&[0x08, 0, 1, b'a'], None),
    ] {
        let count = properties.len() as u8;
        let head = [0x30, 4 + count, 0, 1, b't', count];
        let mut peer = Peer::connected(&board(), true, &hello("a"));
        let found = peer.say(&[&head, properties].concat());
        let expected: Vec<_> = code.map(Answer::Disconnect).into_iter().collect();
        assert_eq!(found, expected, "{properties:?}");
        assert_eq!(said(&peer.link.next).is_empty(), code.is_some());
    }
}
