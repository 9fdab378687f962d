//! Several bridges on one NATS: one has the downlink at a time.

use std::time::Duration;

use gnomon_adapters::{Nats, NatsOptions};
use gnomon_bridge::{BridgeOptions, Version};
use gnomon_host::downlink::Downlink;
use gnomon_host::port::{Message, Queue};
use gnomon_tests::stack::{Kind, Part};

use crate::downlink::DOWN;
use crate::world::{Bridge, Device, options, until, within};

const COUNT: usize = 300;

/// A bridge with a connection to NATS of its own, as a process has.
async fn bridge(nats: &Part, port: u16, name: &str) -> (Bridge, Nats) {
    let queue = Nats::open(&NatsOptions::new(&nats.url(), 1)).await.unwrap();
    let client_id = name.to_owned();
    let options = BridgeOptions { client_id, ..options(port, Version::V5) };
    (Bridge::start(options, queue.clone()), queue)
}

async fn append(queue: &Nats, number: usize) {
    let message = Downlink::new("a", 1, number.to_string().into_bytes().into());
    let id = format!("message-{number}");
    let message = Message { log: DOWN, id, device: None, body: message.encode() };
    queue.append(vec![message]).await.unwrap();
}

async fn settled(queue: &Nats, count: usize) {
    until(async || queue.counts(DOWN).await.unwrap().acknowledged == count as u64).await;
}

async fn number(device: &mut Device) -> usize {
    String::from_utf8(device.receive().await.payload.to_vec()).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_bridge_stands_by_and_takes_over_when_the_first_dies() {
    let (nats, broker) = (Part::start(Kind::Nats), Part::start(Kind::Mosquitto));
    let port = broker.address().port();
    let mut device = Device::connect(port, "device").await;
    device.subscribe("a").await;
    let (first, queue) = bridge(&nats, port, "first").await;
    append(&queue, 0).await;
    settled(&queue, 1).await;
    let (_second, standing) = bridge(&nats, port, "second").await;
    // Both are in the line, and the first still has the log.
    let line = async || standing.attend("bridge-downlink", "zz").await.unwrap().len();
    until(async || line().await == 3).await;
    let appending = tokio::spawn({
        let standing = standing.clone();
        async move {
            for number in 1..COUNT {
                append(&standing, number).await;
            }
        }
    });
    let mut received = vec![];
    while received.len() < COUNT / 3 {
        received.push(number(&mut device).await);
    }
    first.crash().await;
    queue.close();
    within(appending).await.unwrap();
    while received.last() != Some(&(COUNT - 1)) {
        received.push(number(&mut device).await);
    }
    settled(&standing, COUNT).await;
    // The second one begins where the acknowledgements of the first end: what comes twice is the few
    // that the first had sent, in order both times.
    let mut first_seen: Vec<usize> = Vec::new();
    for one in &received {
        if !first_seen.contains(one) {
            first_seen.push(*one);
        }
    }
    assert_eq!(first_seen, (0..COUNT).collect::<Vec<_>>());
    let again = received.len() - COUNT;
    assert!(again <= 2 * usize::from(BridgeOptions::default().inflight_max), "{again} twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_stops_in_order_hands_the_downlink_over_and_nothing_comes_twice() {
    let (nats, broker) = (Part::start(Kind::Nats), Part::start(Kind::Mosquitto));
    let port = broker.address().port();
    let mut device = Device::connect(port, "device").await;
    device.subscribe("a").await;
    let (mut active, queue) = bridge(&nats, port, "bridge-0").await;
    let mut all = Vec::new();
    for round in 0..4 {
        let (next, _) = bridge(&nats, port, &format!("bridge-{}", round + 1)).await;
        for one in 0..20 {
            append(&queue, 20 * round + one).await;
        }
        // Some are on their way while it stops.
        all.push(number(&mut device).await);
        let began = std::time::Instant::now();
        active.stop().await;
        active = next;
        append(&queue, 1000 + round).await;
        while all.last() != Some(&(1000 + round)) {
            all.push(number(&mut device).await);
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    let expected: Vec<_> =
        (0..4).flat_map(|round| (20 * round..20 * round + 20).chain([1000 + round])).collect();
    assert_eq!(all, expected);
}
