//! What of a publish goes to which log.

use bytes::Bytes;
use gnomon_dialect::{UplinkKind, encode, recognise};
use gnomon_host::downlink::{Downlink, Properties};
use gnomon_host::port::{Log, Message, Stream};
use gnomon_model::{
    Destination, Dialect, Effect, Envelope, EnvelopeId, Record, Reject, RejectKind, ReplyTo, What,
};

use crate::link::{Client, Identity, Link};
use crate::publish::{Entry, Origin};

/// One publish that the client may make.
pub(crate) struct Intake {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    /// The expiry is relative, milliseconds.
    pub(crate) properties: Properties,
    pub(crate) packet_id: Option<u16>,
    /// Names its messages: those of a publish that comes again are the same.
    pub(crate) id: EnvelopeId,
}

impl Link {
    /// Puts a publish into the next batch: as an envelope if a device speaks, and as a message if
    /// somebody subscribed to it or it is none of Gnomon's own topics.
    pub(crate) fn take_in(&mut self, intake: Intake, publisher: &str, now_ms: i64) {
        let Intake { topic, payload, qos, mut properties, packet_id, id } = intake;
        let uplink = recognise(&topic);
        // Subscribers of other gateways are not known here.
        let is_general = uplink.is_none()
            || self.board.options.has_peers
            || self.board.broker().has_subscriber(&topic);
        if let Some(uplink) = &uplink {
            let stream = match uplink.kind {
                UplinkKind::Reply => Stream::Calls,
                UplinkKind::Report
                | UplinkKind::Event
                | UplinkKind::Request
                | UplinkKind::Unsupported => Stream::Telemetry,
            };
            let (topic, payload) = (topic.clone(), payload.clone());
            let packet = packet_id.map(|packet_id| (publisher.to_owned(), packet_id));
            let what = What::Published { topic, payload, packet };
            let device = uplink.device.clone();
            let envelope = Envelope { id: id.clone(), device, received_at_ms: now_ms, what };
            self.add_envelope(stream, &envelope, Origin::Publish);
        }
        if is_general {
            properties.expires_at_ms = properties.expires_at_ms.map(|lifetime| now_ms + lifetime);
            let publisher = Some(publisher.to_owned());
            let downlink = Downlink { topic, qos, publisher, properties, payload };
            // Apart from the ids of effects, which end in a number.
            self.add_downlink(format!("{id}-m"), &downlink);
        }
    }

    pub(crate) fn add_envelope(&mut self, stream: Stream, envelope: &Envelope, origin: Origin) {
        let log = Log { stream, partition: envelope.device.partition(self.board.partitions) };
        let (id, body) = (envelope.id.to_string(), envelope.encode());
        let message = Message { log, id, device: Some(envelope.device.clone()), body };
        self.next.entries.push(Entry { message, origin });
    }

    fn add_downlink(&mut self, id: String, downlink: &Downlink) {
        let log = Log { stream: Stream::Downlink, partition: 0 };
        let message = Message { log, id, device: None, body: downlink.encode() };
        self.next.entries.push(Entry { message, origin: Origin::Publish });
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
                let id = self.board.id().to_string();
                self.add_downlink(id, &Downlink::new(&topic, qos, payload.into_bytes().into()));
            }
        }
    }
}
