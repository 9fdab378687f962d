//! MQTT 3.1.1, by rumqttc.

use std::time::Duration;

use gnomon_host::downlink::Downlink;
use rumqttc::mqttbytes::v4::{Packet, Publish, SubscribeReasonCode};
use rumqttc::{AsyncClient, MqttOptions, Outgoing, QoS, SubscribeFilter};

use super::{Answer, Event, INFLIGHT_LIMIT, Lost, Received, Role, client_id};
use crate::options::{BridgeOptions, PACKET_BYTES_LIMIT};
use crate::tls::mistrust;

pub(super) fn options(options: &BridgeOptions, role: Role) -> MqttOptions {
    let mut out = MqttOptions::new(client_id(options, role), options.host.clone(), options.port);
    // rumqttc's own limit is 10 KiB, and a larger message, which the broker of a persistent session
    // sends again and again, would end every connection. The client cannot tell this version's
    // broker its limit, so it reads whatever comes, and the owner drops what is too large.
    let limit = usize::try_from(PACKET_BYTES_LIMIT).unwrap_or(usize::MAX);
    out.set_max_packet_size(limit, limit)
        .set_keep_alive(Duration::from_secs(options.keep_alive_s.into()))
        .set_clean_session(role == Role::Downlink)
        .set_manual_acks(true)
        .set_inflight(INFLIGHT_LIMIT);
    if let Some(login) = &options.login {
        out.set_credentials(login.user_name.clone(), login.password.clone());
    }
    if let Some(tls) = &options.tls {
        out.set_transport(tls.transport());
    }
    out
}

pub(super) fn lost(error: rumqttc::ConnectionError) -> Lost {
    let mistrust = match &error {
        rumqttc::ConnectionError::Tls(error) => mistrust(error),
        _ => None,
    };
    mistrust.map_or_else(|| Lost::V3(Box::new(error)), Lost::Untrusted)
}

pub(super) fn event(event: rumqttc::Event) -> Event {
    match event {
        rumqttc::Event::Incoming(packet) => incoming(packet),
        rumqttc::Event::Outgoing(Outgoing::Publish(packet_id)) => Event::Sent(packet_id),
        rumqttc::Event::Outgoing(Outgoing::AwaitAck(_)) => Event::Collided,
        rumqttc::Event::Outgoing(Outgoing::Disconnect) => Event::Parted,
        rumqttc::Event::Outgoing(_) => Event::Other,
    }
}

fn incoming(packet: Packet) -> Event {
    match packet {
        Packet::ConnAck(connack) => {
            Event::Connected { session_present: connack.session_present, packet_bytes_max: None }
        }
        Packet::SubAck(suback) => {
            if suback.return_codes.contains(&SubscribeReasonCode::Failure) {
                Event::SubscriptionRefused("failure")
            } else {
                Event::Subscribed
            }
        }
        Packet::Publish(publish) => Event::Received(Received {
            packet_id: (publish.qos != QoS::AtMostOnce).then_some(publish.pkid),
            topic: publish.topic,
            payload: publish.payload,
            is_again: publish.dup,
            is_retained: publish.retain,
        }),
        Packet::PubAck(puback) => Event::Answered(puback.pkid, Answer::Taken),
        _ => Event::Other,
    }
}

pub(super) fn filters(filters: &[String]) -> Vec<SubscribeFilter> {
    filters.iter().map(|filter| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce)).collect()
}

/// As much of a received publish as its acknowledgement needs.
pub(super) fn to_acknowledge(packet_id: u16) -> Publish {
    let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new());
    publish.pkid = packet_id;
    publish
}

pub(super) fn publish(client: &AsyncClient, message: &Downlink) -> bool {
    let qos = if message.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    client.try_publish(message.topic.clone(), qos, false, message.payload.to_vec()).is_ok()
}
