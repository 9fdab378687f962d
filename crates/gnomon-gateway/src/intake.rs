//! What of a publish goes to which log.

use bytes::Bytes;
use gnomon_dialect::{UplinkKind, encode, recognise};
use gnomon_host::downlink::{Downlink, Properties};
use gnomon_host::port::{Log, Message, Stream};
use gnomon_model::{
    Destination, DeviceKey, Dialect, Effect, Envelope, Record, Reject, RejectKind, ReplyTo, What,
};

use crate::link::{Client, Identity, Link};

impl Link {
    /// Puts a publish into the next batch: as an envelope if a device speaks, and as a message if
    /// somebody subscribed to it or it is none of Gnomon's own topics.
    #[expect(clippy::too_many_arguments, reason = "the parts of one publish")]
    pub(crate) fn take_in(
        &mut self,
        topic: String,
        payload: Bytes,
        qos: u8,
        mut properties: Properties,
        packet: Option<(String, u16)>,
        publisher: &str,
        now_ms: i64,
    ) {
        let uplink = recognise(&topic);
        let is_general = uplink.is_none() || self.board.broker().has_subscriber(&topic);
        if let Some(uplink) = &uplink {
            let stream = match uplink.kind {
                UplinkKind::Reply => Stream::Calls,
                UplinkKind::Report
                | UplinkKind::Event
                | UplinkKind::Request
                | UplinkKind::Unsupported => Stream::Telemetry,
            };
            let (topic, payload) = (topic.clone(), payload.clone());
            let what = What::Published { topic, payload, packet };
            self.add_envelope(stream, uplink.device.clone(), what, now_ms);
        }
        if is_general {
            properties.expires_at_ms = properties.expires_at_ms.map(|lifetime| now_ms + lifetime);
            let publisher = Some(publisher.to_owned());
            let downlink = Downlink { topic, qos, publisher, properties, payload };
            self.add_downlink(&downlink);
        }
    }

    pub(crate) fn add_envelope(
        &mut self,
        stream: Stream,
        device: DeviceKey,
        what: What,
        now_ms: i64,
    ) {
        let log = Log { stream, partition: device.partition(self.board.partitions) };
        let envelope = Envelope { id: self.board.id(), device, received_at_ms: now_ms, what };
        let (id, body) = (envelope.id.to_string(), envelope.encode());
        self.next.messages.push(Message { log, id, device: Some(envelope.device), body });
    }

    fn add_downlink(&mut self, downlink: &Downlink) {
        let log = Log { stream: Stream::Downlink, partition: 0 };
        let (id, body) = (self.board.id().to_string(), downlink.encode());
        self.next.messages.push(Message { log, id, device: None, body });
    }

    /// Tells a device, on its own topic, that it may not publish on another's.
    pub(crate) fn tell_refused(&mut self, topic: &str) {
        let Some(Client { identity: Identity::Device(_, device), .. }) = &self.client else {
            return;
        };
        let to = ReplyTo {
            dialect: Dialect::Plain,
            topic: topic.chars().take(200).collect(),
            id: String::new(),
            wanted: true,
        };
        let reject =
            Reject::new(RejectKind::Forbidden, "this topic is not one of the device's own");
        let effect = Effect::Rejected { to, reject };
        for (to, payload) in encode(&effect, device, &Record::default()) {
            if let Destination::Topic { topic, qos } = to {
                self.add_downlink(&Downlink::new(&topic, qos, payload.into_bytes().into()));
            }
        }
    }
}
