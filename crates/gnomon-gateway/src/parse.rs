//! What a client's packets mean: both versions read into the same requests.

use bytes::Bytes;
use gnomon_host::downlink::Properties;
use mqtt_protocol_core::mqtt::packet::{Property, Qos, SubEntry, v3_1_1, v5_0};

use crate::properties;
use crate::request::{Connect, ConnectAnswer, Filter, Goodbye, Publish, Will};

pub(crate) fn filter(entry: &SubEntry, identifier: Option<u32>) -> Filter {
    let options = entry.sub_opts();
    Filter {
        filter: entry.topic_filter().to_owned(),
        qos: (options.qos() as u8).min(1),
        no_local: options.nl(),
        identifier,
    }
}

pub(crate) fn connect_v3(connect: &v3_1_1::Connect) -> Connect {
    let clean = connect.clean_session();
    Connect {
        client: connect.client_id().to_owned(),
        user_name: connect.user_name().map(str::to_owned),
        clean_start: clean,
        session_expiry_s: clean.then_some(0),
        keep_alive_s: connect.keep_alive(),
        receive_max: u16::MAX,
        will: will(connect.will_topic(), connect.will_payload(), connect.will_qos(), &[]),
    }
}

/// Reads a CONNECT, or says which of its wishes is not served: CONNACK told no client so before.
pub(crate) fn connect_v5(connect: &v5_0::Connect) -> Result<Connect, ConnectAnswer> {
    let props: &[Property] = connect.props();
    if properties::has_authentication_method(props) {
        return Err(ConnectAnswer::MethodUnknown);
    }
    if connect.will_retain() {
        return Err(ConnectAnswer::RetainUnsupported);
    }
    if connect.will_qos() == Qos::ExactlyOnce {
        return Err(ConnectAnswer::QosUnsupported);
    }
    let will_props: &[Property] = connect.will_props();
    let expiry = properties::session_expiry_s(props).unwrap_or(0);
    Ok(Connect {
        client: connect.client_id().to_owned(),
        user_name: connect.user_name().map(str::to_owned),
        clean_start: connect.clean_start(),
        session_expiry_s: (expiry != u32::MAX).then_some(expiry),
        keep_alive_s: connect.keep_alive(),
        receive_max: properties::receive_max(props).unwrap_or(u16::MAX),
        will: will(connect.will_topic(), connect.will_payload(), connect.will_qos(), will_props),
    })
}

fn will(topic: Option<&str>, payload: Option<&[u8]>, qos: Qos, props: &[Property]) -> Option<Will> {
    topic.map(|topic| Will {
        topic: topic.to_owned(),
        payload: Bytes::copy_from_slice(payload.unwrap_or_default()),
        qos: (qos as u8).min(1),
        delay_s: properties::will_delay_s(props).unwrap_or(0),
        properties: properties::of_publish(props),
    })
}

pub(crate) fn publish_v3(publish: &v3_1_1::Publish) -> Result<Publish, Goodbye> {
    Ok(Publish {
        topic: publish.topic_name().to_owned(),
        payload: Bytes::copy_from_slice(publish.payload().as_slice()),
        qos: qos(publish.qos())?,
        is_again: publish.dup(),
        packet_id: publish.packet_id(),
        properties: Properties::default(),
    })
}

pub(crate) fn publish_v5(publish: &v5_0::Publish) -> Result<Publish, Goodbye> {
    let properties = properties::of_publish(publish.props());
    // Subscription identifiers are the server's to set (MQTT 5, 3.3.4), and a response topic is a
    // topic (3.3.2.3.5).
    let response = properties.response_topic.as_deref().unwrap_or_default();
    if properties::subscription_identifier(publish.props()).is_some()
        || response.contains(['+', '#'])
    {
        return Err(Goodbye::ProtocolError);
    }
    Ok(Publish {
        topic: publish.topic_name().to_owned(),
        payload: Bytes::copy_from_slice(publish.payload().as_slice()),
        qos: qos(publish.qos())?,
        is_again: publish.dup(),
        packet_id: publish.packet_id(),
        properties,
    })
}

/// QoS 2 is not served: MQTT 5 is told so in CONNACK, and a client that uses it all the same is
/// disconnected, as is one of MQTT 3.1.1.
pub(crate) fn qos(qos: Qos) -> Result<u8, Goodbye> {
    match qos {
        Qos::AtMostOnce => Ok(0),
        Qos::AtLeastOnce => Ok(1),
        Qos::ExactlyOnce => Err(Goodbye::QosUnsupported),
    }
}
