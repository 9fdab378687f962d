//! The core without sockets: a peer of bytes on one side, batches and keeps on the other.

mod connect;
mod deliver;
mod peers;
mod protocol;
mod publish;
mod shell;
mod wills;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use bytes::Bytes;
use gnomon_host::downlink::Downlink;
use gnomon_host::port::{QueueError, Stream};
use gnomon_model::{Envelope, Models, ProductKey, ThingModel, What};
use mqtt_protocol_core::mqtt::packet::{
    MaximumPacketSize, Property, Qos, ReceiveMaximum, SessionExpiryInterval, SubEntry, SubOpts,
    v3_1_1, v5_0,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::broker::Broker;
use crate::link::Link;
use crate::options::GatewayOptions;
use crate::publish::{After, Batch};
use crate::retransmit::Retransmits;
use crate::session::{Keep, Receipt};
use crate::switchboard::Switchboard;

const NOW: i64 = 1_700_000_000_000;
const VERSIONS: [bool; 2] = [false, true];

fn models() -> Arc<ArcSwap<Models>> {
    let product = ProductKey::parse("coldroom").unwrap();
    let text = include_str!("../../../schemas/coldroom/coldroom.json");
    let model = ThingModel::load(&product, &[("coldroom.json".into(), text.into())]).unwrap();
    Arc::new(ArcSwap::from_pointee(Models::from([(product, Arc::new(model))])))
}

fn board_with(options: GatewayOptions) -> Arc<Switchboard> {
    Arc::new(Switchboard {
        broker: Mutex::new(Broker::new(options.clone())),
        retransmits: Retransmits::new(options.retransmitters_max),
        options,
        models: models(),
        partitions: 4,
        process: "test".into(),
        made: AtomicU64::new(0),
    })
}

fn board() -> Arc<Switchboard> {
    board_with(GatewayOptions::default())
}

/// What a client says of itself.
#[derive(Clone)]
struct Hello {
    client: &'static str,
    user: Option<&'static str>,
    clean: bool,
    will: Option<&'static str>,
    receive_max: Option<u16>,
    packet_max: Option<u32>,
    expiry_s: u32,
}

fn hello(client: &'static str) -> Hello {
    let (user, will, receive_max, packet_max) = (None, None, None, None);
    Hello { client, user, clean: true, will, receive_max, packet_max, expiry_s: 0 }
}

impl Hello {
    fn named(self, user: &'static str) -> Self {
        Self { user: Some(user), ..self }
    }

    fn persistent(self) -> Self {
        Self { clean: false, expiry_s: 3600, ..self }
    }

    fn will(self, topic: &'static str) -> Self {
        Self { will: Some(topic), ..self }
    }

    fn bytes(&self, v5: bool) -> Vec<u8> {
        if !v5 {
            let mut connect = v3_1_1::Connect::builder().client_id(self.client).unwrap();
            connect = connect.clean_session(self.clean).keep_alive(0);
            if let Some(user) = self.user {
                connect = connect.user_name(user).unwrap();
            }
            if let Some(topic) = self.will {
                connect = connect.will_message(topic, b"gone", Qos::AtLeastOnce, false).unwrap();
            }
            return connect.build().unwrap().to_continuous_buffer();
        }
        let mut props: Vec<Property> =
            vec![SessionExpiryInterval::new(self.expiry_s).unwrap().into()];
        props.extend(self.receive_max.map(|max| ReceiveMaximum::new(max).unwrap().into()));
        props.extend(self.packet_max.map(|max| MaximumPacketSize::new(max).unwrap().into()));
        let mut connect = v5_0::Connect::builder().client_id(self.client).unwrap();
        connect = connect.clean_start(self.clean).keep_alive(0).props(props);
        if let Some(user) = self.user {
            connect = connect.user_name(user).unwrap();
        }
        if let Some(topic) = self.will {
            connect = connect.will_message(topic, b"gone", Qos::AtLeastOnce, false).unwrap();
        }
        connect.build().unwrap().to_continuous_buffer()
    }
}

/// Packet id, QoS and DUP of a publish.
fn publish(v5: bool, topic: &str, payload: &[u8], qos: Qos, id: u16, dup: bool) -> Vec<u8> {
    let payload = payload.to_vec();
    if v5 {
        let packet = v5_0::Publish::builder().topic_name(topic).unwrap().qos(qos).dup(dup);
        let packet = packet.payload(payload);
        let packet = if qos == Qos::AtMostOnce { packet } else { packet.packet_id(id) };
        packet.build().unwrap().to_continuous_buffer()
    } else {
        let packet = v3_1_1::Publish::builder().topic_name(topic).unwrap().qos(qos).dup(dup);
        let packet = packet.payload(payload);
        let packet = if qos == Qos::AtMostOnce { packet } else { packet.packet_id(id) };
        packet.build().unwrap().to_continuous_buffer()
    }
}

fn publish_1(v5: bool, topic: &str, payload: &[u8], id: u16) -> Vec<u8> {
    publish(v5, topic, payload, Qos::AtLeastOnce, id, false)
}

fn subscribe(v5: bool, filters: &[&str]) -> Vec<u8> {
    let options = SubOpts::new().set_qos(Qos::AtLeastOnce);
    let entries: Vec<_> = filters.iter().map(|one| SubEntry::new(*one, options).unwrap()).collect();
    if v5 {
        let packet = v5_0::Subscribe::builder().packet_id(9).entries(entries);
        packet.build().unwrap().to_continuous_buffer()
    } else {
        let packet = v3_1_1::Subscribe::builder().packet_id(9).entries(entries);
        packet.build().unwrap().to_continuous_buffer()
    }
}

fn unsubscribe(v5: bool, filters: &[&str]) -> Vec<u8> {
    let filters = filters.to_vec();
    if v5 {
        let packet = v5_0::Unsubscribe::builder().packet_id(9).entries(filters).unwrap();
        packet.build().unwrap().to_continuous_buffer()
    } else {
        let packet = v3_1_1::Unsubscribe::builder().packet_id(9).entries(filters).unwrap();
        packet.build().unwrap().to_continuous_buffer()
    }
}

fn puback(id: u16) -> Vec<u8> {
    vec![0x40, 2, (id >> 8) as u8, id as u8]
}

const DISCONNECT: [u8; 2] = [0xe0, 0];

/// A packet from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Connack { present: bool, code: u8 },
    Puback { id: u16, code: u8 },
    Suback(Vec<u8>),
    Publish { topic: String, payload: Vec<u8>, id: Option<u16>, dup: bool },
    Disconnect(u8),
    Other(u8),
}

/// Reads whole packets off the front of what the server sent.
fn answers(v5: bool, bytes: &mut Vec<u8>) -> Vec<Answer> {
    let mut found = Vec::new();
    while let Some((first, body)) = split_packet(bytes) {
        let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        found.push(match first >> 4 {
            2 => Answer::Connack { present: body[0] == 1, code: body[1] },
            3 => {
                let length = usize::from(word(0));
                let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
                let id = (first & 6 != 0).then(|| word(2 + length));
                let mut rest = 2 + length + if id.is_some() { 2 } else { 0 };
                if v5 {
                    rest += 1 + usize::from(body[rest]);
                }
                Answer::Publish { topic, payload: body[rest..].to_vec(), id, dup: first & 8 != 0 }
            }
            4 => Answer::Puback { id: word(0), code: body.get(2).copied().unwrap_or(0) },
            9 => Answer::Suback(body[if v5 { 3 } else { 2 }..].to_vec()),
            14 => Answer::Disconnect(body.first().copied().unwrap_or(0)),
            other => Answer::Other(other),
        });
    }
    found
}

fn split_packet(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (mut length, mut at) = (0, 1);
    loop {
        let byte = usize::from(*bytes.get(at)?);
        length |= (byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte < 0x80 {
            break;
        }
    }
    if bytes.len() < at + length {
        return None;
    }
    let packet: Vec<u8> = bytes.drain(..at + length).collect();
    Some((packet[0], packet[at..].to_vec()))
}

/// A client and the link that serves it.
struct Peer {
    v5: bool,
    link: Link,
}

impl Peer {
    fn new(board: &Arc<Switchboard>, v5: bool) -> Self {
        Self { v5, link: Link::new(board.clone()) }
    }

    /// Connected, with what that puts into the queue appended.
    fn connected(board: &Arc<Switchboard>, v5: bool, hello: &Hello) -> Self {
        let mut peer = Self::new(board, v5);
        let found = peer.say(&hello.bytes(v5));
        assert!(matches!(found[..], [Answer::Connack { code: 0, .. }]), "{found:?}");
        peer.append(&Ok(()));
        peer
    }

    fn say(&mut self, bytes: &[u8]) -> Vec<Answer> {
        self.link.receive(bytes, NOW);
        self.heard()
    }

    fn heard(&mut self) -> Vec<Answer> {
        answers(self.v5, &mut self.link.wire.take_output())
    }

    /// Sends the next batch to a queue that answers so.
    fn append(&mut self, result: &Result<(), QueueError>) -> Vec<Answer> {
        let mut batch = self.link.take_next();
        assert_eq!(self.link.appended(&mut batch, result), After::Next);
        self.heard()
    }

    fn deliver(&mut self) -> Vec<Answer> {
        self.link.deliver(NOW);
        self.heard()
    }

    /// The connection ends; what is left to say.
    fn end(mut self, reason: &str) -> Vec<Said> {
        self.link.end(reason, NOW);
        said(&self.link.next)
    }
}

/// What of a batch goes where.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Published(Stream, String),
    Presence { device: String, online: bool, reason: String },
    Message { topic: String, payload: Bytes },
}

fn said(batch: &Batch) -> Vec<Said> {
    let of = |message: &gnomon_host::port::Message| {
        if message.log.stream == Stream::Downlink {
            let Downlink { topic, payload, .. } = Downlink::decode(&message.body).unwrap();
            return Said::Message { topic, payload };
        }
        let envelope = Envelope::decode(&message.body).unwrap();
        match envelope.what {
            What::Published { topic, .. } => Said::Published(message.log.stream, topic),
            What::Presence(presence) => Said::Presence {
                device: envelope.device.to_string(),
                online: presence.online,
                reason: presence.reason,
            },
            other => panic!("a gateway never says {other:?}"),
        }
    };
    batch.messages().iter().map(of).collect()
}

fn presence(device: &str, online: bool, reason: &str) -> Said {
    Said::Presence { device: device.into(), online, reason: reason.into() }
}

/// A downlink log whose settled positions are seen.
struct Log {
    done: UnboundedSender<u64>,
    dones: UnboundedReceiver<u64>,
}

impl Log {
    fn new() -> Self {
        let (done, dones) = unbounded_channel();
        Self { done, dones }
    }

    fn route(&self, board: &Switchboard, position: u64, topic: &str) -> Vec<Keep> {
        let payload = Bytes::from(format!("m{position}"));
        let message = Arc::new(Downlink::new(topic, 1, payload));
        board.broker().route(&message, &self.receipt(position))
    }

    fn receipt(&self, position: u64) -> Arc<Receipt> {
        Receipt::new("x".into(), position, self.done.clone())
    }

    fn settled(&mut self) -> Vec<u64> {
        let mut settled: Vec<u64> = std::iter::from_fn(|| self.dones.try_recv().ok()).collect();
        settled.sort_unstable();
        settled
    }
}
