//! A broker that the test plays, packet by packet, in MQTT 3.1.1.

use gnomon_adapters::faulty::{Fault, Faulty, Operation, Plan};
use gnomon_adapters::memory::Memory;
use gnomon_bridge::{BridgeOptions, Directions, Version};
use gnomon_host::downlink::Downlink;
use gnomon_host::port::{Log, Queue, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::downlink::{DOWN, append, settled};
use crate::world::{Bridge, LAMP, Reader, options, until, within};

const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x32;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const DISCONNECT: u8 = 0xe0;
const DUP: u8 = 0x08;

struct Played {
    stream: TcpStream,
}

impl Played {
    /// Accepts the bridge, with its session or without.
    async fn accept(listener: &TcpListener, session_present: u8) -> Self {
        let (stream, _) = within(listener.accept()).await.unwrap();
        let mut played = Self { stream };
        assert_eq!(played.read().await.0, CONNECT);
        played.write(&[0x20, 2, session_present, 0]).await;
        played
    }

    async fn accept_subscriber(listener: &TcpListener, session_present: u8) -> Self {
        let mut played = Self::accept(listener, session_present).await;
        let (kind, body) = played.read().await;
        assert_eq!(kind, SUBSCRIBE);
        played.write(&[0x90, 3, body[0], body[1], 1]).await;
        played
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The first byte and what follows the length.
    async fn read(&mut self) -> (u8, Vec<u8>) {
        within(async {
            let kind = self.stream.read_u8().await.unwrap();
            let (mut length, mut shift) = (0, 0);
            loop {
                let byte = usize::from(self.stream.read_u8().await.unwrap());
                length |= (byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.unwrap();
            (kind, body)
        })
        .await
    }

    async fn publish(&mut self, flags: u8, packet_id: u16, payload: &str) {
        let length = 2 + LAMP.len() + 2 + payload.len();
        let mut bytes = vec![PUBLISH | flags, u8::try_from(length).unwrap()];
        bytes.extend([0, u8::try_from(LAMP.len()).unwrap()]);
        bytes.extend(LAMP.as_bytes());
        bytes.extend(packet_id.to_be_bytes());
        bytes.extend(payload.as_bytes());
        self.write(&bytes).await;
    }

    async fn acknowledged(&mut self, packet_id: u16) {
        assert_eq!(self.read().await, (PUBACK, packet_id.to_be_bytes().to_vec()));
    }
}

async fn listen(directions: Directions) -> (TcpListener, BridgeOptions) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, BridgeOptions { directions, ..options(port, Version::V3) })
}

#[tokio::test]
async fn only_what_is_sent_again_in_one_session_is_absorbed() {
    let (listener, options) = listen(Directions::Uplink).await;
    let queue = Memory::new(1);
    let mut reader = Reader::new(&queue, Stream::Telemetry).await;
    let bridge = Bridge::start(options.clone(), queue.clone());
    let mut broker = Played::accept_subscriber(&listener, 0).await;
    broker.publish(0, 7, "a").await;
    broker.acknowledged(7).await;
    // The packet id is free again: the same content is another message.
    broker.publish(0, 7, "a").await;
    broker.acknowledged(7).await;
    drop(broker);
    let mut broker = Played::accept_subscriber(&listener, 1).await;
    // Sent again, since the acknowledgement was not seen; and what only looks like it.
    broker.publish(DUP, 7, "a").await;
    broker.acknowledged(7).await;
    broker.publish(DUP, 8, "a").await;
    broker.acknowledged(8).await;
    broker.publish(DUP, 7, "b").await;
    broker.acknowledged(7).await;
    broker.publish(DUP, 7, "a").await;
    broker.acknowledged(7).await;
    assert_eq!(reader.payloads(5).await, ["a", "a", "a", "b", "a"]);
    // Another process knows it from the queue.
    drop(broker);
    bridge.crash().await;
    let _bridge = Bridge::start(options, queue.clone());
    let mut broker = Played::accept_subscriber(&listener, 1).await;
    broker.publish(DUP, 7, "a").await;
    broker.acknowledged(7).await;
    drop(broker);
    // A new session sends nothing of the old one again.
    let mut broker = Played::accept_subscriber(&listener, 0).await;
    broker.publish(DUP, 7, "a").await;
    broker.acknowledged(7).await;
    broker.publish(0, 9, "last").await;
    broker.acknowledged(9).await;
    assert_eq!(reader.payloads(2).await, ["a", "last"]);
}

#[tokio::test]
async fn acknowledgements_of_an_older_connection_are_dropped() {
    let (listener, options) = listen(Directions::Uplink).await;
    let memory = Memory::new(1);
    let faulty = Faulty::new(memory.clone(), Plan::none());
    let _bridge = Bridge::start(options, faulty.clone());
    let mut broker = Played::accept_subscriber(&listener, 0).await;
    faulty.plan().script(Operation::Append, Fault::Hold);
    broker.publish(0, 7, "a").await;
    until(async || faulty.plan().calls(Operation::Append) == 1).await;
    drop(broker);
    let mut broker = Played::accept_subscriber(&listener, 1).await;
    faulty.plan().release();
    let telemetry = Log { stream: Stream::Telemetry, partition: 0 };
    until(async || memory.counts(telemetry).await.unwrap().appended == 1).await;
    broker.publish(0, 9, "b").await;
    broker.acknowledged(9).await;
    broker.publish(DUP, 7, "a").await;
    broker.acknowledged(7).await;
    assert_eq!(Reader::new(&memory, Stream::Telemetry).await.payloads(2).await, ["a", "b"]);
    assert_eq!(memory.counts(telemetry).await.unwrap().appended, 2);
}

#[tokio::test]
async fn the_log_is_acknowledged_after_the_broker() {
    let (listener, options) = listen(Directions::Downlink).await;
    let queue = Memory::new(1);
    let _bridge = Bridge::start(options, queue.clone());
    let mut broker = Played::accept(&listener, 0).await;
    for id in ["1", "2"] {
        append(&queue, id, &Downlink::new(LAMP, 1, id.to_owned().into())).await;
    }
    let (_, first) = broker.read().await;
    let (_, second) = broker.read().await;
    assert_eq!((first.last(), second.last()), (Some(&b'1'), Some(&b'2')));
    assert_eq!(queue.counts(DOWN).await.unwrap().acknowledged, 0);
    let id_at = 2 + LAMP.len();
    broker.write(&[PUBACK, 2, first[id_at], first[id_at + 1]]).await;
    settled(&queue, 1).await;
    // What is not answered comes again, and what is answered does not.
    drop(broker);
    let mut broker = Played::accept(&listener, 0).await;
    let (_, again) = broker.read().await;
    assert_eq!(again.last(), Some(&b'2'));
    assert_eq!(queue.counts(DOWN).await.unwrap().acknowledged, 1);
    broker.write(&[PUBACK, 2, again[id_at], again[id_at + 1]]).await;
    settled(&queue, 2).await;
}

#[tokio::test]
async fn a_broker_without_a_bound_ends_the_connection_and_loses_nothing() {
    let (listener, options) = listen(Directions::Uplink).await;
    let memory = Memory::new(1);
    let faulty = Faulty::new(memory.clone(), Plan::none());
    let _bridge = Bridge::start(options, faulty.clone());
    let mut broker = Played::accept_subscriber(&listener, 0).await;
    faulty.plan().script(Operation::Append, Fault::Hold);
    // One more than may wait for the queue.
    for packet_id in 1..=2049 {
        broker.publish(0, packet_id, &packet_id.to_string()).await;
    }
    within(broker.stream.read_u8()).await.unwrap_err();
    faulty.plan().heal();
    let mut broker = Played::accept_subscriber(&listener, 1).await;
    for packet_id in 1..=2049 {
        broker.publish(DUP, packet_id, &packet_id.to_string()).await;
    }
    for packet_id in 1..=2049 {
        broker.acknowledged(packet_id).await;
    }
    let expected: Vec<_> = (1..=2049).map(|number| number.to_string()).collect();
    assert_eq!(Reader::new(&memory, Stream::Telemetry).await.payloads(2049).await, expected);
}

#[tokio::test]
async fn stopping_ends_what_is_on_its_way() {
    let (listener, options) = listen(Directions::Uplink).await;
    let faulty = Faulty::new(Memory::new(1), Plan::none());
    let bridge = Bridge::start(options, faulty.clone());
    let mut broker = Played::accept_subscriber(&listener, 0).await;
    faulty.plan().script(Operation::Append, Fault::Hold);
    broker.publish(0, 7, "a").await;
    until(async || faulty.plan().calls(Operation::Append) == 1).await;
    let goodbye = async {
        faulty.plan().release();
        broker.acknowledged(7).await;
        assert_eq!(broker.read().await.0, DISCONNECT);
    };
    tokio::join!(bridge.stop(), goodbye);
}
