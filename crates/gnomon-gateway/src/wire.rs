//! MQTT packets of both versions as one set of requests and answers. Sans-IO: bytes in, bytes out.
//!
//! Invariants: nothing is acknowledged unless it is asked for here; a packet beyond the size limit
//! is refused before it is read.

use gnomon_host::downlink::Downlink;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, role};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError};
use mqtt_protocol_core::mqtt::{Connection, Version};

use crate::framing::{Breach, Framing};
use crate::options::GatewayOptions;
use crate::parse::{connect_v3, connect_v5, filter, publish_v3, publish_v5};
use crate::properties;
use crate::request::{ConnectAnswer, Goodbye, PublishAnswer, Request, SubscribeAnswer};

/// One side of one connection.
pub(crate) struct Wire {
    protocol: Connection<role::Server>,
    framing: Framing,
    out: Vec<u8>,
    /// Whether the client was accepted: from then on DISCONNECT says why the connection ends, until
    /// then CONNACK does.
    accepted: bool,
    /// Whether DISCONNECT was sent.
    parted: bool,
    /// The client is told the assigned id by MQTT 5 only.
    assigned_client: Option<String>,
    /// Receive Maximum that a client of MQTT 5 is told.
    receive_max: u16,
    /// Nothing more is read; the connection ends once `out` is sent.
    pub(crate) ended: bool,
}

impl Wire {
    pub(crate) fn new(options: &GatewayOptions) -> Self {
        // No limit of publishes under way here: it would cut off clients of MQTT 3.1.1, which are
        // never told of one. Those of MQTT 5 are told with CONNACK; for both, reading pauses.
        let limits = ConnectionOptions::new().maximum_packet_size_recv(options.packet_bytes_max);
        let mut protocol = Connection::with_options(Version::Undetermined, limits);
        protocol.set_auto_ping_response(true);
        let receive_max = options.pending_publishes_max;
        Self {
            protocol,
            framing: Framing::default(),
            out: Vec::new(),
            accepted: false,
            parted: false,
            assigned_client: None,
            receive_max,
            ended: false,
        }
    }

    pub(crate) fn is_v5(&self) -> bool {
        self.protocol.get_protocol_version() == Version::V5_0
    }

    /// Bytes to send, taken once.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Reads the next request off the front of `bytes`; none when they are used up or the
    /// connection is over. Half a packet waits for its other half.
    pub(crate) fn read(&mut self, bytes: &mut &[u8]) -> Option<Request> {
        while !self.ended && !bytes.is_empty() {
            match self.framing.split(bytes) {
                Ok(packet) => {
                    let events = self.protocol.recv(&mut Cursor::new(packet));
                    if let Some(request) = self.act(events) {
                        return Some(request);
                    }
                }
                Err(breach) => self.breached(breach),
            }
        }
        None
    }

    /// Does what the protocol asks for. Returns the request that it read: one packet is at most one.
    fn act(&mut self, events: Vec<Event>) -> Option<Request> {
        let mut found = None;
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.parted |= matches!(packet, Packet::V5_0Disconnect(_));
                    self.out.extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::NotifyPacketReceived(packet) => match self.request(packet) {
                    Ok(request) => found = request,
                    Err(goodbye) => self.goodbye(goodbye),
                },
                Event::NotifyError(error) => self.failed(error),
                Event::RequestClose => self.ended = true,
                Event::NotifyPacketIdReleased(_)
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_) => {}
            }
        }
        found
    }

    fn breached(&mut self, breach: Breach) {
        tracing::debug!(?breach, "protocol error");
        match breach {
            Breach::HeaderFlags => self.goodbye(Goodbye::MalformedPacket),
            Breach::ConnectFlags { level: 5 } => self.out.extend(connack_refusal(0x81)),
            Breach::ConnectFlags { .. } => {}
            Breach::Level { level: 6.. } => self.out.extend(connack_refusal(0x84)),
            // The words of MQTT 3.1.1 (3.1.2.2): what older clients understand.
            Breach::Level { .. } => self.out.extend([0x20, 2, 0, 1]),
        }
        self.ended = true;
    }

    /// The protocol cannot go on. MQTT 5 is told why, in CONNACK or in DISCONNECT; MQTT 3.1.1 has no
    /// word for it, and the one that the protocol put there ("not authorized") is not true.
    fn failed(&mut self, error: MqttError) {
        tracing::debug!(?error, "protocol error");
        if self.accepted {
            self.goodbye(properties::goodbye(error));
        } else {
            self.out.clear();
            if self.is_v5() {
                self.out.extend(connack_refusal(properties::connect_code(error) as u8));
            }
        }
        self.ended = true;
    }

    fn request(&mut self, packet: Packet) -> Result<Option<Request>, Goodbye> {
        Ok(match packet {
            Packet::V3_1_1Connect(connect) => Some(Request::Connect(connect_v3(&connect))),
            Packet::V5_0Connect(connect) => match connect_v5(&connect) {
                Ok(connect) => Some(Request::Connect(connect)),
                Err(answer) => {
                    self.answer_connect(answer, None);
                    None
                }
            },
            Packet::V3_1_1Publish(publish) => Some(Request::Publish(publish_v3(&publish)?)),
            Packet::V5_0Publish(publish) => Some(Request::Publish(publish_v5(&publish)?)),
            Packet::V3_1_1Puback(puback) => {
                Some(Request::Acknowledged { packet_id: puback.packet_id() })
            }
            Packet::V5_0Puback(puback) => {
                Some(Request::Acknowledged { packet_id: puback.packet_id() })
            }
            Packet::V3_1_1Subscribe(subscribe) => {
                let filters = subscribe.entries().iter().map(|entry| filter(entry, None)).collect();
                Some(Request::Subscribe { packet_id: subscribe.packet_id(), filters })
            }
            Packet::V5_0Subscribe(subscribe) => {
                let identifier = properties::subscription_identifier(subscribe.props());
                let entries = subscribe.entries().iter();
                let filters = entries.map(|entry| filter(entry, identifier)).collect();
                Some(Request::Subscribe { packet_id: subscribe.packet_id(), filters })
            }
            Packet::V3_1_1Unsubscribe(unsubscribe) => {
                let filters = unsubscribe.entries().iter().map(|one| one.as_str().to_owned());
                let filters = filters.collect();
                Some(Request::Unsubscribe { packet_id: unsubscribe.packet_id(), filters })
            }
            Packet::V5_0Unsubscribe(unsubscribe) => {
                let filters = unsubscribe.entries().iter().map(|one| one.as_str().to_owned());
                let filters = filters.collect();
                Some(Request::Unsubscribe { packet_id: unsubscribe.packet_id(), filters })
            }
            Packet::V3_1_1Disconnect(_) => {
                Some(Request::Disconnect { with_will: false, session_expiry_s: None })
            }
            Packet::V5_0Disconnect(disconnect) => {
                let reason = disconnect.reason_code();
                let with_will = reason == Some(DisconnectReasonCode::DisconnectWithWillMessage);
                let props = disconnect.props().as_deref().unwrap_or_default();
                let session_expiry_s = properties::session_expiry_s(props);
                Some(Request::Disconnect { with_will, session_expiry_s })
            }
            Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => None,
            // Everything else belongs to QoS 2, to AUTH, or to a server.
            _ => return Err(Goodbye::ProtocolError),
        })
    }

    /// Names the client that came without an id; told with the CONNACK.
    pub(crate) fn assign(&mut self, client: &str) {
        self.assigned_client = Some(client.to_owned());
    }

    pub(crate) fn answer_connect(&mut self, answer: ConnectAnswer, expiry_s: Option<u32>) {
        let packet = if self.is_v5() {
            properties::connack_v5(answer, self.assigned_client.take(), expiry_s, self.receive_max)
        } else {
            properties::connack_v3(answer)
        };
        self.send(packet);
        self.accepted = matches!(answer, ConnectAnswer::Accepted { .. });
        self.ended |= !self.accepted;
    }

    pub(crate) fn answer_publish(&mut self, packet_id: u16, answer: PublishAnswer) {
        let packet = if self.is_v5() {
            let puback = v5_0::Puback::builder().packet_id(packet_id);
            puback.reason_code(properties::puback_code(answer)).build().map(Packet::from)
        } else {
            v3_1_1::Puback::builder().packet_id(packet_id).build().map(Packet::from)
        };
        self.send(packet);
    }

    pub(crate) fn answer_subscribe(&mut self, packet_id: u16, answers: &[SubscribeAnswer]) {
        let packet = if self.is_v5() {
            let codes = answers.iter().map(|answer| properties::suback_v5(*answer)).collect();
            v5_0::Suback::builder()
                .packet_id(packet_id)
                .reason_codes(codes)
                .build()
                .map(Packet::from)
        } else {
            let codes = answers.iter().map(|answer| properties::suback_v3(*answer)).collect();
            let suback = v3_1_1::Suback::builder().packet_id(packet_id);
            suback.return_codes(codes).build().map(Packet::from)
        };
        self.send(packet);
    }

    pub(crate) fn answer_unsubscribe(&mut self, packet_id: u16, existed: &[bool]) {
        let packet = if self.is_v5() {
            let codes = existed.iter().map(|existed| properties::unsuback_v5(*existed)).collect();
            let unsuback = v5_0::Unsuback::builder().packet_id(packet_id);
            unsuback.reason_codes(codes).build().map(Packet::from)
        } else {
            v3_1_1::Unsuback::builder().packet_id(packet_id).build().map(Packet::from)
        };
        self.send(packet);
    }

    /// Gives a message of QoS 1 its packet id; none while all are in use.
    pub(crate) fn packet_id(&mut self) -> Option<u16> {
        self.protocol.acquire_packet_id().ok()
    }

    /// Takes a packet id into use again, for a message that was sent on an earlier connection.
    pub(crate) fn reuse_packet_id(&mut self, packet_id: u16) -> bool {
        self.protocol.register_packet_id(packet_id).is_ok()
    }

    /// Sends a message. Returns whether it went out: one that is too large for the client does not,
    /// and its packet id is free again.
    pub(crate) fn publish(
        &mut self,
        message: &Downlink,
        packet_id: Option<u16>,
        is_again: bool,
        identifiers: &[u32],
        now_ms: i64,
    ) -> bool {
        let qos = if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let payload = message.payload.to_vec();
        let packet = if self.is_v5() {
            let props = properties::publish_v5(message, identifiers, now_ms);
            v5_0::Publish::builder().topic_name(message.topic.as_str()).and_then(|publish| {
                let publish = publish.qos(qos).dup(is_again).payload(payload).props(props);
                match packet_id {
                    Some(packet_id) => publish.packet_id(packet_id).build(),
                    None => publish.build(),
                }
                .map(Packet::from)
            })
        } else {
            v3_1_1::Publish::builder().topic_name(message.topic.as_str()).and_then(|publish| {
                let publish = publish.qos(qos).dup(is_again).payload(payload);
                match packet_id {
                    Some(packet_id) => publish.packet_id(packet_id).build(),
                    None => publish.build(),
                }
                .map(Packet::from)
            })
        };
        let events = packet.map(|packet| self.protocol.send(packet));
        let refusal =
            |event: &Event| matches!(event, Event::NotifyError(MqttError::PacketTooLarge));
        match events {
            Ok(events) if !events.iter().any(refusal) => {
                self.act(events);
                true
            }
            refused => {
                tracing::debug!(topic = message.topic, ?refused, "a message is left out");
                if let Some(packet_id) = packet_id {
                    let events = self.protocol.release_packet_id(packet_id);
                    self.act(events);
                }
                false
            }
        }
    }

    /// Ends the connection; MQTT 5 is told why, once.
    pub(crate) fn goodbye(&mut self, goodbye: Goodbye) {
        if self.accepted && self.is_v5() && !self.parted {
            let code = properties::disconnect_code(goodbye);
            self.send(v5_0::Disconnect::builder().reason_code(code).build().map(Packet::from));
        }
        self.ended = true;
    }

    /// The client has ended the connection: nothing is said any more.
    pub(crate) fn part(&mut self) {
        self.parted = true;
        self.ended = true;
    }

    fn send(&mut self, packet: Result<Packet, MqttError>) {
        match packet {
            Ok(packet) => {
                let events = self.protocol.send(packet);
                self.act(events);
            }
            Err(error) => tracing::warn!(?error, "build a packet"),
        }
    }
}

/// CONNACK of MQTT 5 that refuses with this reason code, without properties (MQTT 5, 3.2.2.2).
fn connack_refusal(code: u8) -> [u8; 5] {
    [0x20, 3, 0, code, 0]
}
