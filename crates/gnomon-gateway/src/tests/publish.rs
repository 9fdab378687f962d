//! Publishes of clients: what reaches the queue, and when they are acknowledged.

use super::*;

const OWN: &str = "devices/coldroom/room-1/telemetry";

fn full() -> Result<(), QueueError> {
    Err(QueueError::Full { reason: "test".into() })
}

fn unavailable() -> Result<(), QueueError> {
    Err(QueueError::Unavailable { reason: "test".into() })
}

/// Log and id of each message: the queue absorbs what comes twice.
fn ids(batch: &Batch) -> Vec<(Stream, String)> {
    batch.messages().into_iter().map(|one| (one.log.stream, one.id)).collect()
}

fn accepted(id: u16) -> Answer {
    Answer::Puback { id, code: 0 }
}

fn room(board: &Arc<Switchboard>, v5: bool) -> Peer {
    Peer::connected(board, v5, &hello("a").named("coldroom/room-1"))
}

#[test]
fn a_publish_is_acknowledged_after_the_queue_has_it_and_in_order() {
    for v5 in VERSIONS {
        let mut peer = room(&board(), v5);
        let two = [publish_1(v5, OWN, b"{}", 1), publish_1(v5, OWN, b"{\"a\":1}", 2)].concat();
        assert_eq!(peer.say(&two), []);
        let mut first = peer.link.take_next();
        let report = Said::Published(Stream::Telemetry, OWN.into());
        assert_eq!(said(&first), [report.clone(), report]);
        // Neither what needs the queue nor what does not overtakes a batch on its way.
        assert_eq!(peer.say(&publish_1(v5, "devices/coldroom/room-2/telemetry", b"", 3)), []);
        assert_eq!(peer.link.appended(&mut first, &Ok(())), After::Next);
        assert_eq!(peer.heard(), [accepted(1), accepted(2)]);
        let code = if v5 { 0x87 } else { 0 };
        assert_eq!(peer.append(&Ok(())), [Answer::Puback { id: 3, code }]);
    }
}

#[test]
fn an_answer_that_needs_no_queue_waits_for_those_before_it() {
    for v5 in VERSIONS {
        let mut peer = Peer::connected(&board(), v5, &hello("a"));
        let denied = publish_1(v5, "$SYS/x", b"", 2);
        peer.say(&publish_1(v5, "lab/x", b"1", 1));
        let mut batch = peer.link.take_next();
        assert_eq!(peer.say(&denied), []);
        assert_eq!(peer.link.appended(&mut batch, &Ok(())), After::Next);
        assert_eq!(peer.heard(), [accepted(1)]);
        assert_eq!(peer.append(&Ok(())).len(), 1);
        assert_eq!(peer.say(&denied).len(), 1, "at once when nothing is before it");
    }
}

#[test]
fn a_full_queue_is_told_to_mqtt_5_and_retried_for_3() {
    for (result, code) in [(full(), 0x97), (unavailable(), 0x80), (Err(QueueError::Closed), 0x80)] {
        let mut peer = room(&board(), true);
        peer.say(&publish_1(true, OWN, b"{}", 7));
        assert_eq!(peer.append(&result), [Answer::Puback { id: 7, code }]);
    }
    for result in [full(), unavailable()] {
        let mut peer = room(&board(), false);
        peer.say(&publish_1(false, OWN, b"{}", 7));
        let mut batch = peer.link.take_next();
        assert_eq!(peer.link.appended(&mut batch, &result), After::Again);
        assert_eq!(peer.heard(), []);
        assert_eq!(peer.link.appended(&mut batch, &Ok(())), After::Next);
        assert_eq!(peer.heard(), [accepted(7)]);
    }
}

#[test]
fn a_closed_queue_is_not_tried_again() {
    let mut peer = room(&board(), false);
    peer.say(&publish_1(false, OWN, b"{}", 7));
    assert_eq!(peer.append(&Err(QueueError::Closed)), []);
    assert!(peer.link.wire.ended, "its client keeps the publish for the next connection");
}

#[test]
fn presence_that_the_queue_refuses_is_tried_again() {
    for result in [full(), unavailable()] {
        let mut peer = Peer::new(&board(), true);
        let hello = hello("a").named("coldroom/room-1").bytes(true);
        peer.say(&[hello, publish_1(true, OWN, b"{}", 7)].concat());
        let mut batch = peer.link.take_next();
        assert_eq!(said(&batch).len(), 2);
        peer.say(&publish_1(true, OWN, b"{}", 8));
        assert_eq!(peer.link.appended(&mut batch, &result), After::Pause);
        assert_eq!(peer.heard().len(), 1, "its client sends a publish again if it likes");
        let online = presence("coldroom/room-1", true, "connected");
        let report = Said::Published(Stream::Telemetry, OWN.into());
        assert_eq!(said(&peer.link.next), [online, report], "in front of what came since");
        assert_eq!(peer.append(&Ok(())), [accepted(8)]);
    }
}

#[test]
fn a_publish_on_anothers_topic_reaches_nobody() {
    for (v5, code) in [(false, 0), (true, 0x87)] {
        let mut peer = room(&board(), v5);
        let other = "devices/coldroom/room-2/telemetry";
        peer.say(&publish_1(v5, other, b"{}", 1));
        let [Said::Message { topic, payload }] = &said(&peer.link.next)[..] else {
            panic!("{:?}", said(&peer.link.next))
        };
        assert_eq!(topic, "devices/coldroom/room-1/rejected");
        assert!(String::from_utf8_lossy(payload).contains(other));
        assert_eq!(peer.append(&Ok(())), [Answer::Puback { id: 1, code }]);
    }
}

#[test]
fn what_a_client_sends_again_is_appended_once() {
    for v5 in VERSIONS {
        for (in_order, payload, again) in [
            (false, &b"{}"[..], false),
            (true, &b"{}"[..], true),
            (false, &b"{\"other\":1}"[..], true),
        ] {
            let board = board();
            let one = hello("a").named("coldroom/room-1").persistent();
            let mut peer = Peer::connected(&board, v5, &one);
            peer.say(&publish_1(v5, OWN, b"{}", 1));
            peer.append(&Ok(()));
            if in_order {
                peer.say(&DISCONNECT);
            }
            peer.end("ended");
            let mut peer = Peer::connected(&board, v5, &one);
            let dup = publish(v5, OWN, payload, Qos::AtLeastOnce, 1, true);
            let found = peer.say(&dup);
            assert_eq!(!said(&peer.link.next).is_empty(), again, "{in_order} {payload:?}");
            let found = if again { peer.append(&Ok(())) } else { found };
            assert_eq!(found, [accepted(1)]);
        }
    }
}

#[test]
fn only_what_the_last_connection_took_may_be_sent_again() {
    for v5 in VERSIONS {
        let board = board();
        let one = hello("a").named("coldroom/room-1").persistent();
        for id in [5, 6] {
            let mut peer = Peer::connected(&board, v5, &one);
            peer.say(&publish_1(v5, OWN, b"{}", id));
            peer.append(&Ok(()));
            peer.end("lost");
        }
        let mut peer = Peer::connected(&board, v5, &one);
        peer.say(&publish(v5, OWN, b"{}", Qos::AtLeastOnce, 5, true));
        assert_eq!(said(&peer.link.next).len(), 1, "a new publish whose first copy was lost");
    }
}

#[test]
fn what_a_replaced_connection_took_is_not_appended_again() {
    for v5 in VERSIONS {
        let board = board();
        let one = hello("a").named("coldroom/room-1").persistent();
        let mut old = Peer::connected(&board, v5, &one);
        old.say(&publish_1(v5, OWN, b"{}", 1));
        old.append(&Ok(()));
        let mut new = Peer::connected(&board, v5, &one);
        old.end("taken over");
        new.say(&publish(v5, OWN, b"{}", Qos::AtLeastOnce, 1, true));
        assert!(said(&new.link.next).is_empty());
    }
}

#[test]
fn what_still_waits_for_the_queue_is_not_appended_twice() {
    for v5 in VERSIONS {
        let mut peer = room(&board(), v5);
        let dup = publish(v5, OWN, b"{}", Qos::AtLeastOnce, 1, true);
        peer.say(&[publish_1(v5, OWN, b"{}", 1), dup.clone()].concat());
        let mut batch = peer.link.take_next();
        assert_eq!(said(&batch).len(), 1);
        assert_eq!(peer.say(&dup), []);
        assert!(peer.link.next.is_empty(), "on its way already");
        assert_eq!(peer.link.appended(&mut batch, &Ok(())), After::Next);
        assert_eq!(peer.heard(), [accepted(1)], "answered once");
    }
}

#[test]
fn what_was_on_its_way_when_the_connection_ended_comes_again_under_the_same_ids() {
    for v5 in VERSIONS {
        let (board, one) = (board(), hello("a").persistent());
        let mut peer = Peer::connected(&board, v5, &one);
        peer.say(&subscribe(v5, &["devices/+/+/telemetry"]));
        peer.say(&publish_1(v5, OWN, b"{}", 1));
        peer.say(&publish_1(v5, OWN, b"{\"a\":1}", 2));
        let first = ids(&peer.link.next);
        assert_eq!(first.len(), 4, "a report and a message each");
        peer.link.take_next();
        // The client is back before the queue has answered.
        peer.link.leave();
        let again = [
            publish(v5, OWN, b"{}", Qos::AtLeastOnce, 1, true),
            publish(v5, OWN, b"{\"a\":1}", Qos::AtLeastOnce, 2, true),
        ];
        let mut early = Peer::connected(&board, v5, &one);
        early.say(&again.concat());
        assert_eq!(ids(&early.link.next), first);
        early.link.take_next();
        // Neither connection has heard of it: the third one sends it again.
        peer.link.end("taken over", NOW);
        early.link.end("lost", NOW);
        let mut late = Peer::connected(&board, v5, &one);
        late.say(&again[0]);
        assert_eq!(ids(&late.link.next), first[..2]);
        late.link.take_next();
        late.link.end("lost", NOW);
        late.link.last_words_arrived();
        let mut last = Peer::connected(&board, v5, &one);
        assert_eq!(last.say(&again[0]), [accepted(1)], "the queue has it by now");
    }
}

#[test]
fn mqtt_3_may_have_any_number_of_publishes_under_way() {
    let mut peer = room(&board(), false);
    let flood: Vec<u8> = (1..=300).flat_map(|id| publish_1(false, OWN, b"{}", id)).collect();
    peer.say(&flood);
    let expected: Vec<Answer> = (1..=300).map(accepted).collect();
    assert_eq!(peer.append(&Ok(())), expected);
}

#[test]
fn a_refused_publish_is_not_taken_for_a_retransmission() {
    let board = board();
    let one = hello("a").named("coldroom/room-1").persistent();
    let mut peer = Peer::connected(&board, true, &one);
    peer.say(&publish_1(true, OWN, b"{}", 1));
    peer.append(&full());
    peer.end("lost");
    let mut peer = Peer::connected(&board, true, &one);
    peer.say(&publish(true, OWN, b"{}", Qos::AtLeastOnce, 1, true));
    assert_eq!(said(&peer.link.next).len(), 1);
}

#[test]
fn qos_2_ends_the_connection() {
    for v5 in VERSIONS {
        let mut peer = room(&board(), v5);
        let found = peer.say(&publish(v5, OWN, b"{}", Qos::ExactlyOnce, 1, false));
        let expected: Vec<_> = if v5 { vec![Answer::Disconnect(0x9b)] } else { vec![] };
        assert_eq!(found, expected);
        assert!(peer.link.wire.ended && said(&peer.link.next).is_empty());
    }
}

#[test]
fn half_packets_mean_what_whole_ones_do() {
    for v5 in VERSIONS {
        let hello = hello("a").named("coldroom/room-1").bytes(v5);
        let stream = [hello, publish_1(v5, OWN, b"{}", 1), publish_1(v5, "x", b"", 2)].concat();
        let mut whole = Peer::new(&board(), v5);
        whole.say(&stream);
        let expected = said(&whole.link.next);
        assert_eq!(expected.len(), 3);
        for at in 0..=stream.len() {
            let mut halves = Peer::new(&board(), v5);
            halves.say(&stream[..at]);
            halves.say(&stream[at..]);
            assert_eq!(said(&halves.link.next), expected, "split at {at}");
        }
    }
}

#[test]
fn reading_pauses_while_the_queue_does_not_answer() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let options = GatewayOptions { pending_publishes_max: 4, ..Default::default() };
        let mut peer = room(&board_with(options), false);
        let mut count = 0;
        while peer.link.may_read() {
            count += 1;
            assert!(count < 20, "unbounded at {qos:?}");
            peer.say(&publish(false, OWN, b"{}", qos, count, false));
        }
        peer.append(&Ok(()));
        assert!(peer.link.may_read());
    }
}

#[test]
fn general_topics_and_those_with_subscribers_go_to_the_downlink_log() {
    for v5 in VERSIONS {
        let board = board();
        let mut peer = Peer::connected(&board, v5, &hello("a"));
        let message = |topic: &str| Said::Message { topic: topic.into(), payload: "1".into() };
        let report = Said::Published(Stream::Telemetry, OWN.into());
        peer.say(&publish(v5, "lab/x", b"1", Qos::AtMostOnce, 0, false));
        peer.say(&publish(v5, OWN, b"1", Qos::AtMostOnce, 0, false));
        assert_eq!(said(&peer.link.next), [message("lab/x"), report.clone()]);
        peer.append(&Ok(()));
        peer.say(&subscribe(v5, &["devices/+/+/telemetry"]));
        peer.say(&publish(v5, OWN, b"1", Qos::AtMostOnce, 0, false));
        assert_eq!(said(&peer.link.next), [report, message(OWN)]);
    }
}
