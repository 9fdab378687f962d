//! From the queue to devices.

use bytes::Bytes;
use gnomon_adapters::memory::Memory;
use gnomon_bridge::{BridgeError, BridgeOptions, Version};
use gnomon_host::downlink::{Downlink, Properties};
use gnomon_host::port::{Consumer, Log, Message, Queue, Stream};
use gnomon_host::watch::now_ms;
use gnomon_tests::stack::{Kind, Part};

use crate::world::{Bridge, Device, LAMP, Reader, options, until};

pub(crate) const DOWN: Log = Log { stream: Stream::Downlink, partition: 0 };

pub(crate) async fn append(queue: &Memory, id: &str, message: &Downlink) {
    let message = Message { log: DOWN, id: id.into(), device: None, body: message.encode() };
    queue.append(vec![message]).await.unwrap();
}

pub(crate) async fn settled(queue: &Memory, count: u64) {
    until(async || queue.counts(DOWN).await.unwrap().acknowledged == count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_reach_devices_in_order_with_their_properties() {
    for version in [Version::V3, Version::V5] {
        let broker = Part::start(Kind::Mosquitto);
        let (port, queue) = (broker.address().port(), Memory::new(1));
        let mut device = Device::connect(port, "device").await;
        device.subscribe("devices/pk/lamp/#").await;
        let bridge = Bridge::start(options(port, version), queue.clone());
        let properties = Properties {
            is_utf8: Some(true),
            content_type: Some("text/plain".into()),
            response_topic: Some("devices/pk/lamp/replies/7".into()),
            correlation: Some(vec![0, 255]),
            user: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
            expires_at_ms: Some(now_ms() + 3_600_000),
        };
        let plain = |qos, payload: &str| {
            let payload = Bytes::copy_from_slice(payload.as_bytes());
            Downlink::new("devices/pk/lamp/desired", qos, payload)
        };
        append(&queue, "1", &Downlink { properties, ..plain(1, "first") }).await;
        append(&queue, "2", &plain(0, "second")).await;
        append(&queue, "3", &Downlink::new("no/+/topic", 1, Bytes::new())).await;
        let expires_at_ms = Some(1);
        let old = Properties { expires_at_ms, ..Properties::default() };
        append(&queue, "4", &Downlink { properties: old, ..plain(1, "expired") }).await;
        append(&queue, "5", &Downlink::new("a", 1, vec![b'x'; 2 << 20].into())).await;
        append(&queue, "6", &Downlink::new("devices/pk/lamp/x", 1, vec![b'x'; 300_000].into()))
            .await;
        let first = device.receive().await;
        assert_eq!(
            (&first.topic[..], &first.payload[..]),
            (&b"devices/pk/lamp/desired"[..], &b"first"[..])
        );
        if version == Version::V5 {
            let found = first.properties.unwrap();
            assert_eq!(found.payload_format_indicator, Some(1));
            assert_eq!(found.content_type.as_deref(), Some("text/plain"));
            assert_eq!(found.response_topic.as_deref(), Some("devices/pk/lamp/replies/7"));
            assert_eq!(found.correlation_data.as_deref(), Some(&[0, 255][..]));
            let user = [("a", "1"), ("a", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
            assert_eq!(found.user_properties, user);
            assert!((3590..=3600).contains(&found.message_expiry_interval.unwrap()));
        }
        assert_eq!(&device.receive().await.payload[..], b"second");
        assert_eq!(device.receive().await.payload.len(), 300_000);
        settled(&queue, 6).await;
        bridge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_devices_are_told_does_not_come_back() {
    let broker = Part::start(Kind::Mosquitto);
    let (port, queue) = (broker.address().port(), Memory::new(1));
    let mut device = Device::connect(port, "device").await;
    let _bridge = Bridge::start(options(port, Version::V5), queue.clone());
    device.find_bridge().await;
    let topics = [
        "/sys/pk/lamp/thing/service/Drain",
        "/sys/pk/lamp/thing/service/property/set",
        "/sys/pk/lamp/thing/config/get_reply",
        "/sys/pk/lamp/rrpc/request/7",
        "devices/pk/lamp/calls/Drain/7",
        "devices/pk/lamp/rejected",
    ];
    for topic in topics {
        append(&queue, topic, &Downlink::new(topic, 1, Bytes::from_static(b"{}"))).await;
    }
    settled(&queue, topics.len() as u64).await;
    device.publish(LAMP, "said").await;
    device.publish("/sys/pk/lamp/rrpc/response/7", "replied").await;
    assert_eq!(Reader::new(&queue, Stream::Telemetry).await.payloads(1).await, ["said"]);
    assert_eq!(Reader::new(&queue, Stream::Calls).await.payloads(1).await, ["replied"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_consumer_of_the_downlink_takes_it_over() {
    let broker = Part::start(Kind::Mosquitto);
    let (port, queue) = (broker.address().port(), Memory::new(1));
    let mut device = Device::connect(port, "device").await;
    device.subscribe("a").await;
    let first = Bridge::start(options(port, Version::V5), queue.clone());
    append(&queue, "1", &Downlink::new("a", 1, Bytes::new())).await;
    settled(&queue, 1).await;
    let mut other = queue.consume(DOWN).await.unwrap();
    assert!(matches!(first.end().await, BridgeError::QueueClosed { what: "downlink" }));
    append(&queue, "2", &Downlink::new("a", 1, Bytes::from_static(b"2"))).await;
    assert!(device.receive().await.payload.is_empty());
    assert_eq!(other.pull(10).await.unwrap()[0].id, "2");
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    let wrong = BridgeOptions { client_id: String::new(), ..options(1, Version::V5) };
    let refused = Bridge::start(wrong, Memory::new(1)).end().await;
    assert!(matches!(refused, BridgeError::Options { .. }));
}
