//! A device, a bridge and a queue around a real broker.

use std::fs::Permissions;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bytes::Bytes;
use gnomon_adapters::memory::Memory;
use gnomon_bridge::{BridgeError, BridgeOptions, Version, run};
use gnomon_host::port::{Consumer, Log, Queue, Stream};
use gnomon_model::{Envelope, What};
use gnomon_tests::stack::{Kind, Part};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Latest end of anything that is waited for.
const DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const LAMP: &str = "devices/pk/lamp/telemetry";
pub(crate) const PROBE: &str = "devices/pk/probe/telemetry";

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it does not happen")
}

/// Waits until a condition holds.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    within(async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(crate) fn options(port: u16, version: Version) -> BridgeOptions {
    BridgeOptions { port, version, ..BridgeOptions::default() }
}

/// A running bridge. Dropping it is a crash.
pub(crate) struct Bridge {
    task: Option<JoinHandle<Result<(), BridgeError>>>,
    stop: CancellationToken,
}

impl Bridge {
    pub(crate) fn start<Q: Queue>(options: BridgeOptions, queue: Q) -> Self {
        let stop = CancellationToken::new();
        let task = Some(tokio::spawn(Box::pin(run(options, queue, stop.clone()))));
        Self { task, stop }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        within(self.task.take().unwrap()).await.unwrap().unwrap();
    }

    /// Waits until it ends by itself; why.
    pub(crate) async fn end(mut self) -> BridgeError {
        within(self.task.take().unwrap()).await.unwrap().unwrap_err()
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn crash(mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

/// An MQTT 5 client with a persistent session.
pub(crate) struct Device {
    client: AsyncClient,
    events: EventLoop,
}

impl Device {
    pub(crate) async fn connect(port: u16, id: &str) -> Self {
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_clean_start(false).set_outgoing_inflight_upper_limit(100);
        options.set_session_expiry_interval(Some(3600)).set_max_packet_size(Some(1 << 21));
        let (client, events) = AsyncClient::new(options, 1000);
        let mut device = Self { client, events };
        device.await_packet(|packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await;
        device
    }

    /// Connects again as often as needed; rumqttc sends again what is not acknowledged.
    async fn await_packet<T>(&mut self, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
        within(async {
            loop {
                match self.events.poll().await {
                    Ok(Event::Incoming(packet)) => {
                        if let Some(found) = wanted(packet) {
                            return found;
                        }
                    }
                    Ok(Event::Outgoing(_)) => {}
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) {
        self.client.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
        self.await_packet(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    }

    /// Publishes and waits for the acknowledgement; whether somebody had subscribed.
    pub(crate) async fn publish(&mut self, topic: &str, payload: impl Into<Bytes>) -> bool {
        let payload = payload.into();
        loop {
            let asked = self.client.try_publish(topic, QoS::AtLeastOnce, false, payload.clone());
            asked.unwrap();
            // Without its session rumqttc forgets what it has not sent yet.
            let answered = self.await_packet(|packet| match packet {
                Packet::PubAck(puback) => Some(Some(puback.reason)),
                Packet::ConnAck(connack) => (!connack.session_present).then_some(None),
                _ => None,
            });
            if let Some(reason) = answered.await {
                return reason != PubAckReason::NoMatchingSubscribers;
            }
        }
    }

    pub(crate) async fn retain(&mut self, topic: &str, payload: &str) {
        self.client.try_publish(topic, QoS::AtLeastOnce, true, payload.to_owned()).unwrap();
        self.await_packet(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    }

    /// Waits until a bridge has subscribed.
    pub(crate) async fn find_bridge(&mut self) {
        while !within(self.publish(PROBE, "{}")).await {}
    }

    pub(crate) async fn receive(&mut self) -> Publish {
        self.await_packet(|packet| match packet {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        })
        .await
    }
}

/// A message of a device as it is in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
}

/// Reads one log of the only partition, without the probes.
pub(crate) struct Reader {
    consumer: <Memory as Queue>::Consumer,
    read: std::collections::VecDeque<Said>,
}

impl Reader {
    pub(crate) async fn new(queue: &Memory, stream: Stream) -> Self {
        let consumer = queue.consume(Log { stream, partition: 0 }).await.unwrap();
        Self { consumer, read: Default::default() }
    }

    pub(crate) async fn next(&mut self) -> Said {
        while self.read.is_empty() {
            for delivery in within(self.consumer.pull(100)).await.unwrap() {
                self.consumer.acknowledge(&[delivery.position]).await.unwrap();
                let envelope = Envelope::decode(&delivery.body).unwrap();
                assert_eq!(delivery.id, envelope.id.as_str());
                let What::Published { topic, payload, .. } = envelope.what else { panic!() };
                if topic != PROBE {
                    let id = delivery.id;
                    self.read.push_back(Said { id, topic, payload });
                }
            }
        }
        self.read.pop_front().unwrap()
    }

    pub(crate) async fn payloads(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(String::from_utf8(self.next().await.payload.to_vec()).unwrap());
        }
        all
    }
}

/// A broker that keeps its sessions over [`restart_in_order`], and the folder in which it does.
pub(crate) fn start_broker() -> (Part, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    // Started by root, it becomes somebody who could not write there.
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    (Part::start_in(Kind::Mosquitto, dir.path(), &[]), dir)
}

/// Lets the broker write its sessions down and end, and starts it again.
pub(crate) async fn restart_in_order(broker: Part) -> Part {
    broker.signal("TERM");
    let status = format!("/proc/{}/stat", broker.pid());
    // A child that has ended stays as a zombie until somebody asks for it.
    until(async || std::fs::read_to_string(&status).unwrap().contains(") Z ")).await;
    let restarted = tokio::task::spawn_blocking(move || {
        let mut broker = broker;
        broker.restart();
        broker
    });
    restarted.await.unwrap()
}
