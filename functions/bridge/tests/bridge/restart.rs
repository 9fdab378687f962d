//! The broker goes away in the middle.

use gnomon_adapters::faulty::{Fault, Faulty, Operation, Plan};
use gnomon_adapters::memory::Memory;
use gnomon_bridge::{BridgeOptions, Subscriptions, Version};
use gnomon_host::downlink::Downlink;
use gnomon_host::port::Stream;

use crate::downlink::{append, settled};
use crate::world::{Bridge, Device, LAMP, Reader, options, restart_in_order, start_broker, until};

const COUNT: usize = 500;

/// Mosquitto 2.0.11 writes down no shared subscriptions: between its start and the return of the
/// bridge it would drop what devices say.
fn plain(port: u16, version: Version) -> BridgeOptions {
    BridgeOptions { subscriptions: Subscriptions::Plain, ..options(port, version) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_devices_survives_a_restart_of_the_broker() {
    for version in [Version::V3, Version::V5] {
        let (broker, _dir) = start_broker();
        let (port, queue) = (broker.address().port(), Memory::new(1));
        let _bridge = Bridge::start(plain(port, version), queue.clone());
        let mut device = Device::connect(port, "device").await;
        device.find_bridge().await;
        let publishing = tokio::spawn(async move {
            for number in 0..COUNT {
                device.publish(LAMP, number.to_string()).await;
            }
        });
        let mut reader = Reader::new(&queue, Stream::Telemetry).await;
        let mut said = vec![];
        for _ in 0..100 {
            said.push(reader.next().await);
        }
        let _broker = restart_in_order(broker).await;
        while said.last().is_none_or(|last| last.payload != (COUNT - 1).to_string()) {
            said.push(reader.next().await);
        }
        publishing.await.unwrap();
        let count = said.len();
        // The device has one publish at a time on its way, and may have sent that one twice: to
        // the broker these are two messages.
        said.dedup_by_key(|one| one.payload.clone());
        let expected = (0..COUNT).map(|number| number.to_string());
        let wrong =
            said.iter().zip(expected).find(|(one, number)| one.payload != number.as_bytes());
        assert_eq!((wrong, said.len()), (None, COUNT));
        assert!(count <= COUNT + 1, "{count}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_queue_is_not_doubled_by_a_restart_of_the_broker() {
    for version in [Version::V3, Version::V5] {
        let (broker, _dir) = start_broker();
        let (port, memory) = (broker.address().port(), Memory::new(1));
        let faulty = Faulty::new(memory.clone(), Plan::none());
        let _bridge = Bridge::start(plain(port, version), faulty.clone());
        let mut device = Device::connect(port, "device").await;
        device.find_bridge().await;
        let appends = faulty.plan().calls(Operation::Append);
        faulty.plan().script(Operation::Append, Fault::Hold);
        for number in 0..50 {
            device.publish(LAMP, number.to_string()).await;
        }
        until(async || faulty.plan().calls(Operation::Append) > appends).await;
        let _broker = restart_in_order(broker).await;
        device.publish(LAMP, "50").await;
        faulty.plan().heal();
        let mut reader = Reader::new(&memory, Stream::Telemetry).await;
        let expected: Vec<_> = (0..=50).map(|number| number.to_string()).collect();
        assert_eq!(reader.payloads(51).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_to_devices_survives_a_restart_of_the_broker() {
    for version in [Version::V3, Version::V5] {
        let (broker, _dir) = start_broker();
        let (port, queue) = (broker.address().port(), Memory::new(1));
        let mut device = Device::connect(port, "device").await;
        device.subscribe("devices/pk/lamp/desired").await;
        let _bridge = Bridge::start(options(port, version), queue.clone());
        let mut received = Vec::new();
        let receive = async |device: &mut Device| {
            String::from_utf8(device.receive().await.payload.to_vec()).unwrap().parse().unwrap()
        };
        for number in 0..COUNT {
            let payload = number.to_string().into_bytes().into();
            let message = Downlink::new("devices/pk/lamp/desired", 1, payload);
            append(&queue, &number.to_string(), &message).await;
        }
        while received.len() < 50 {
            received.push(receive(&mut device).await);
        }
        let _broker = restart_in_order(broker).await;
        while received.last() != Some(&(COUNT - 1)) {
            received.push(receive(&mut device).await);
        }
        settled(&queue, COUNT as u64).await;
        // Sent twice may be what was on its way, in order both times.
        let mut first: Vec<usize> = Vec::new();
        for number in received {
            if !first.contains(&number) {
                first.push(number);
            }
        }
        assert_eq!(first, (0..COUNT).collect::<Vec<_>>());
    }
}
