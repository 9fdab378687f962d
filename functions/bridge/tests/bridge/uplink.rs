//! From devices to the queue.

use gnomon_adapters::faulty::{Fault, Faulty, Operation, Plan};
use gnomon_adapters::memory::Memory;
use gnomon_bridge::{BridgeOptions, Directions, Subscriptions, Version};
use gnomon_host::port::Queue;
use gnomon_host::port::{Log, Stream};
use gnomon_tests::stack::{Kind, Part};

use crate::world::{Bridge, Device, LAMP, Reader, options, until, within};

const VERSIONS: [Version; 2] = [Version::V3, Version::V5];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_devices_say_is_queued() {
    for version in VERSIONS {
        for subscriptions in
            [Subscriptions::Plain, Subscriptions::Shared { group: "gnomon".into() }]
        {
            let broker = Part::start(Kind::Mosquitto);
            let (port, queue) = (broker.address().port(), Memory::new(1));
            let options = BridgeOptions { subscriptions, ..options(port, version) };
            let bridge = Bridge::start(options, queue.clone());
            let mut device = Device::connect(port, "device").await;
            device.find_bridge().await;
            // The broker has it for somebody else; it is no topic of a device.
            assert!(!device.publish("house/kitchen/lamp", "on").await);
            device.publish("/sys/pk/lamp/thing/service/Drain", "not the device speaks").await;
            device.publish("devices/pk/lamp/requests", "misspelt").await;
            device.publish(LAMP, "not even JSON").await;
            device.publish("devices/pk/lamp/replies/7", "{}").await;
            device.publish("/sys/pk/lamp/thing/event/property/post", "{}").await;
            let mut telemetry = Reader::new(&queue, Stream::Telemetry).await;
            let mut calls = Reader::new(&queue, Stream::Calls).await;
            for topic in
                ["devices/pk/lamp/requests", LAMP, "/sys/pk/lamp/thing/event/property/post"]
            {
                assert_eq!(telemetry.next().await.topic, topic);
            }
            assert_eq!(calls.next().await.topic, "devices/pk/lamp/replies/7");
            bridge.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_the_bridge_is_away_waits_at_the_broker() {
    for version in VERSIONS {
        let broker = Part::start(Kind::Mosquitto);
        let (port, queue) = (broker.address().port(), Memory::new(1));
        let bridge = Bridge::start(options(port, version), queue.clone());
        let mut device = Device::connect(port, "device").await;
        device.find_bridge().await;
        bridge.stop().await;
        for number in 0..50 {
            assert!(device.publish(LAMP, number.to_string()).await);
        }
        let _bridge = Bridge::start(options(port, version), queue.clone());
        let mut reader = Reader::new(&queue, Stream::Telemetry).await;
        let expected: Vec<_> = (0..50).map(|number| number.to_string()).collect();
        assert_eq!(reader.payloads(50).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_keeps_a_message_until_the_queue_has_it() {
    for version in VERSIONS {
        let broker = Part::start(Kind::Mosquitto);
        let (port, memory) = (broker.address().port(), Memory::new(1));
        let faulty = Faulty::new(memory.clone(), Plan::none());
        let bridge = Bridge::start(options(port, version), faulty.clone());
        let mut device = Device::connect(port, "device").await;
        device.find_bridge().await;
        let mut reader = Reader::new(&memory, Stream::Telemetry).await;
        // It is never appended by this process.
        let appends = faulty.plan().calls(Operation::Append);
        (0..3).for_each(|_| faulty.plan().script(Operation::Append, Fault::Hold));
        device.publish(LAMP, "1").await;
        until(async || faulty.plan().calls(Operation::Append) > appends).await;
        bridge.crash().await;
        let _bridge = Bridge::start(options(port, version), memory.clone());
        assert_eq!(reader.payloads(1).await, ["1"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_refuses_gets_the_message_under_the_same_id() {
    let broker = Part::start(Kind::Mosquitto);
    let (port, memory) = (broker.address().port(), Memory::new(1));
    let faulty = Faulty::new(memory.clone(), Plan::none());
    let _bridge = Bridge::start(options(port, Version::V5), faulty.clone());
    let mut device = Device::connect(port, "device").await;
    device.find_bridge().await;
    let mut reader = Reader::new(&memory, Stream::Telemetry).await;
    for fault in [Fault::Before, Fault::Full, Fault::After] {
        faulty.plan().script(Operation::Append, fault);
    }
    for payload in ["1", "2", "3"] {
        device.publish(LAMP, payload).await;
    }
    assert_eq!(reader.payloads(3).await, ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_the_queue_and_the_broker_doubles_nothing() {
    for version in VERSIONS {
        let broker = Part::start(Kind::Mosquitto);
        let (port, memory) = (broker.address().port(), Memory::new(1));
        let faulty = Faulty::new(memory.clone(), Plan::none());
        let bridge = Bridge::start(options(port, version), faulty.clone());
        let mut device = Device::connect(port, "device").await;
        device.find_bridge().await;
        let appends = faulty.plan().calls(Operation::Append);
        // Appended, but the bridge does not know, and never will.
        faulty.plan().script(Operation::Append, Fault::After);
        (0..3).for_each(|_| faulty.plan().script(Operation::Append, Fault::Hold));
        device.publish(LAMP, "same").await;
        until(async || faulty.plan().calls(Operation::Append) > appends + 1).await;
        bridge.crash().await;
        let _bridge = Bridge::start(options(port, version), memory.clone());
        // A new message of the same content is a message of its own.
        device.publish(LAMP, "same").await;
        device.publish(LAMP, "last").await;
        let mut reader = Reader::new(&memory, Stream::Telemetry).await;
        assert_eq!(reader.payloads(3).await, ["same", "same", "last"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bridges_share_the_load() {
    let broker = Part::start(Kind::Mosquitto);
    let (port, queues) = (broker.address().port(), [Memory::new(1), Memory::new(1)]);
    let mut device = Device::connect(port, "device").await;
    let mut bridges = Vec::new();
    for (queue, client_id) in queues.iter().zip(["one", "two"]) {
        let directions = Directions::Uplink;
        let client_id = client_id.to_owned();
        let options = BridgeOptions { client_id, directions, ..options(port, Version::V5) };
        bridges.push(Bridge::start(options, queue.clone()));
        // The broker gives the members of a group their turns.
        let telemetry = Log { stream: Stream::Telemetry, partition: 0 };
        until(async || {
            queue.counts(telemetry).await.unwrap().appended > 0 || {
                device.publish(crate::world::PROBE, "{}").await;
                false
            }
        })
        .await;
    }
    for number in 0..100 {
        assert!(device.publish(LAMP, number.to_string()).await);
    }
    let mut readers = Vec::new();
    for queue in &queues {
        readers.push(Reader::new(queue, Stream::Telemetry).await);
    }
    let (mut seen, mut shares) = (Vec::new(), [0, 0]);
    let [one, two] = &mut readers[..] else { panic!() };
    while seen.len() < 100 {
        let (index, said) = within(async {
            tokio::select! { said = one.next() => (0, said), said = two.next() => (1, said) }
        })
        .await;
        shares[index] += 1;
        seen.push(String::from_utf8(said.payload.to_vec()).unwrap().parse::<u32>().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>(), "each once");
    assert!(shares.iter().all(|share| *share > 10), "{shares:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_pass_and_too_large_ones_stop_nothing() {
    for version in VERSIONS {
        let broker = Part::start(Kind::Mosquitto);
        let (port, queue) = (broker.address().port(), Memory::new(1));
        let bridge = Bridge::start(options(port, version), queue.clone());
        let mut device = Device::connect(port, "device").await;
        device.find_bridge().await;
        device.publish(LAMP, vec![b'x'; 300_000]).await;
        device.publish(LAMP, vec![b'x'; 1_200_000]).await;
        device.publish(LAMP, "last").await;
        let mut reader = Reader::new(&queue, Stream::Telemetry).await;
        assert_eq!(reader.next().await.payload.len(), 300_000);
        assert_eq!(&reader.next().await.payload[..], b"last");
        bridge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_messages_are_not_taken_at_every_start() {
    for version in VERSIONS {
        let broker = Part::start(Kind::Mosquitto);
        let (port, queue) = (broker.address().port(), Memory::new(1));
        let mut device = Device::connect(port, "device").await;
        device.retain(LAMP, "old").await;
        let subscriptions = Subscriptions::Plain;
        let options = BridgeOptions { subscriptions, ..options(port, version) };
        let _bridge = Bridge::start(options, queue.clone());
        device.find_bridge().await;
        device.retain(LAMP, "new").await;
        let mut reader = Reader::new(&queue, Stream::Telemetry).await;
        assert_eq!(reader.payloads(1).await, ["new"]);
    }
}
