//! The shell over real sockets, on ports that the system picks.

use std::net::SocketAddr;

use gnomon_adapters::memory::{Memory, MemoryConsumer};
use gnomon_host::downlink::Downlink;
use gnomon_host::port::{
    Consumer, Counts, Delivery, Log, Message, Queue, QueueError, SavedSession, SessionChange,
    Sessions, StoreError, Stream,
};
use mqtt_protocol_core::mqtt::packet::Qos;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Answer, DISCONNECT, answers, hello, models, puback, publish, publish_1, subscribe};
use crate::{Gateway, GatewayError, GatewayOptions};

pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];

pub(super) struct Served {
    pub(super) address: SocketAddr,
    stop: CancellationToken,
    pub(super) running: JoinHandle<Result<(), GatewayError>>,
}

async fn serve<Q: Queue, S: Sessions>(queue: Q, sessions: S) -> Served {
    serve_with(queue, sessions, GatewayOptions::default()).await
}

pub(super) async fn serve_with<Q: Queue, S: Sessions>(
    queue: Q,
    sessions: S,
    options: GatewayOptions,
) -> Served {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let gateway = Gateway::bind(any, options).await.unwrap();
    let (address, stop) = (gateway.local_addr(), CancellationToken::new());
    let running =
        tokio::spawn(gateway.run(queue, sessions, Memory::new(1), models(), stop.clone()));
    Served { address, stop, running }
}

impl Served {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// A client of MQTT 5 that speaks bytes.
pub(super) struct Raw {
    stream: TcpStream,
    bytes: Vec<u8>,
    heard: std::collections::VecDeque<Answer>,
}

impl Raw {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream, bytes: Vec::new(), heard: Default::default() }
    }

    pub(super) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet; none once the server has closed the connection.
    pub(super) async fn hear(&mut self) -> Option<Answer> {
        while self.heard.is_empty() {
            let mut buffer = [0; 1024];
            let count = self.stream.read(&mut buffer).await.unwrap();
            if count == 0 {
                return None;
            }
            self.bytes.extend_from_slice(&buffer[..count]);
            self.heard.extend(answers(true, &mut self.bytes));
        }
        self.heard.pop_front()
    }

    pub(super) async fn ask(&mut self, bytes: &[u8]) -> Option<Answer> {
        self.say(bytes).await;
        self.hear().await
    }
}

#[tokio::test]
async fn only_loopback_addresses_are_served() {
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = Gateway::bind(any, GatewayOptions::default()).await;
    assert!(matches!(refused, Err(GatewayError::NotLoopback { .. })));
}

#[tokio::test]
async fn what_a_session_has_not_received_survives_a_restart() {
    let memory = Memory::new(2);
    let first = serve(memory.clone(), memory.clone()).await;
    let one = hello("keeper").persistent().bytes(true);
    let mut keeper = Raw::connect(first.address).await;
    let accepted = |present| Some(Answer::Connack { present, code: 0 });
    assert_eq!(keeper.ask(&one).await, accepted(false));
    assert_eq!(keeper.ask(&subscribe(true, &["lab/x"])).await, Some(Answer::Suback(vec![1])));
    keeper.say(&DISCONNECT).await;
    assert_eq!(keeper.hear().await, None);
    let mut other = Raw::connect(first.address).await;
    assert_eq!(other.ask(&hello("other").bytes(true)).await, accepted(false));
    let acknowledged = other.ask(&publish_1(true, "lab/x", b"kept", 1)).await;
    assert_eq!(acknowledged, Some(Answer::Puback { id: 1, code: 0 }));
    first.stop().await;
    assert_eq!(other.hear().await, Some(Answer::Disconnect(0x8b)));

    let second = serve(memory.clone(), memory.clone()).await;
    let mut keeper = Raw::connect(second.address).await;
    assert_eq!(keeper.ask(&one).await, accepted(true));
    let Some(Answer::Publish { topic, payload, id: Some(id), .. }) = keeper.hear().await else {
        panic!("no message")
    };
    assert_eq!((topic.as_str(), &payload[..]), ("lab/x", &b"kept"[..]));
    keeper.say(&puback(id)).await;
    assert_eq!(keeper.ask(&PINGREQ).await, Some(Answer::Other(13)), "both are read");
    second.stop().await;
    assert_eq!(keeper.hear().await, Some(Answer::Disconnect(0x8b)));
    assert_eq!(keeper.hear().await, None);
    let saved = memory.load_all("gateway").await.unwrap();
    assert_eq!((saved[0].client.as_str(), saved[0].pending.len()), ("keeper", 0));
}

/// A queue that takes messages only when let.
#[derive(Clone)]
struct Gated {
    memory: Memory,
    asked: std::sync::Arc<Semaphore>,
    let_through: std::sync::Arc<Semaphore>,
    /// How many appends it refuses first, once they are let through.
    refusals: std::sync::Arc<Semaphore>,
}

impl Gated {
    fn new(memory: &Memory, refusals: usize) -> Self {
        let [asked, let_through] = [0, 0].map(|count| Semaphore::new(count).into());
        Self {
            memory: memory.clone(),
            asked,
            let_through,
            refusals: Semaphore::new(refusals).into(),
        }
    }

    /// Waits until an append is under way.
    async fn is_asked(&self) {
        self.asked.acquire().await.unwrap().forget();
    }
}

impl Queue for Gated {
    type Consumer = MemoryConsumer;

    fn partitions(&self) -> u16 {
        self.memory.partitions()
    }

    async fn append(&self, messages: Vec<Message>) -> Result<(), QueueError> {
        self.asked.add_permits(1);
        self.let_through.acquire().await.unwrap().forget();
        if let Ok(refusal) = self.refusals.try_acquire() {
            refusal.forget();
            return Err(QueueError::Full { reason: "test".into() });
        }
        self.memory.append(messages).await
    }

    async fn consume(&self, log: Log) -> Result<MemoryConsumer, QueueError> {
        self.memory.consume(log).await
    }

    async fn read(
        &self,
        log: Log,
        position: u64,
        count_max: usize,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.memory.read(log, position, count_max).await
    }

    async fn counts(&self, log: Log) -> Result<Counts, QueueError> {
        self.memory.counts(log).await
    }
}

#[tokio::test]
async fn stop_lets_publishes_that_were_read_be_acknowledged() {
    let memory = Memory::new(2);
    let gated = Gated::new(&memory, 0);
    let served = serve(gated.clone(), memory).await;
    let mut client = Raw::connect(served.address).await;
    assert!(client.ask(&hello("a").bytes(true)).await.is_some());
    client.say(&publish_1(true, "lab/x", b"1", 1)).await;
    gated.is_asked().await;
    client.say(&publish_1(true, "lab/x", b"2", 2)).await;
    assert_eq!(client.ask(&PINGREQ).await, Some(Answer::Other(13)), "both are read");
    served.stop.cancel();
    gated.let_through.add_permits(2);
    assert_eq!(client.hear().await, Some(Answer::Puback { id: 1, code: 0 }));
    assert_eq!(client.hear().await, Some(Answer::Puback { id: 2, code: 0 }));
    assert_eq!(client.hear().await, Some(Answer::Disconnect(0x8b)));
    assert_eq!(client.hear().await, None);
    served.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn stop_tries_a_refused_batch_of_mqtt_3_again() {
    let memory = Memory::new(2);
    let gated = Gated::new(&memory, 1);
    let served = serve(gated.clone(), memory).await;
    let mut client = Raw::connect(served.address).await;
    assert!(client.ask(&hello("a").bytes(false)).await.is_some());
    client.say(&publish_1(false, "lab/x", b"1", 1)).await;
    gated.is_asked().await;
    served.stop.cancel();
    gated.let_through.add_permits(2);
    assert_eq!(client.hear().await, Some(Answer::Puback { id: 1, code: 0 }));
    assert_eq!(client.hear().await, None);
    served.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_connection_left_on_its_way_is_appended_once() {
    let memory = Memory::new(2);
    let gated = Gated::new(&memory, 0);
    let served = serve(gated.clone(), memory.clone()).await;
    let one = hello("a").persistent().bytes(false);
    let mut client = Raw::connect(served.address).await;
    assert!(client.ask(&one).await.is_some());
    client.say(&publish_1(false, "lab/x", b"1", 1)).await;
    gated.is_asked().await;
    drop(client);
    let mut client = Raw::connect(served.address).await;
    assert!(client.ask(&one).await.is_some());
    client.say(&publish(false, "lab/x", b"1", Qos::AtLeastOnce, 1, true)).await;
    gated.let_through.add_permits(10);
    assert_eq!(client.hear().await, Some(Answer::Puback { id: 1, code: 0 }));
    served.stop().await;
    let log = Log { stream: Stream::Downlink, partition: 0 };
    assert_eq!(memory.counts(log).await.unwrap().appended, 1);
}

/// A queue whose consumers cannot be reached once, when they are asked for the second time.
#[derive(Clone)]
struct Flaky {
    memory: Memory,
    failures: std::sync::Arc<Semaphore>,
}

struct FlakyConsumer {
    inner: MemoryConsumer,
    has_pulled: bool,
    failures: std::sync::Arc<Semaphore>,
}

impl Consumer for FlakyConsumer {
    fn log_id(&self) -> &str {
        self.inner.log_id()
    }

    async fn pull(&mut self, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
        if self.has_pulled
            && let Ok(failure) = self.failures.try_acquire()
        {
            failure.forget();
            return Err(QueueError::Unavailable { reason: "test".into() });
        }
        let batch = self.inner.pull(count_max).await?;
        self.has_pulled = true;
        Ok(batch)
    }

    async fn acknowledge(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        self.inner.acknowledge(positions).await
    }
}

impl Queue for Flaky {
    type Consumer = FlakyConsumer;

    fn partitions(&self) -> u16 {
        self.memory.partitions()
    }

    async fn append(&self, messages: Vec<Message>) -> Result<(), QueueError> {
        self.memory.append(messages).await
    }

    async fn consume(&self, log: Log) -> Result<FlakyConsumer, QueueError> {
        let (inner, failures) = (self.memory.consume(log).await?, self.failures.clone());
        Ok(FlakyConsumer { inner, has_pulled: false, failures })
    }

    async fn read(
        &self,
        log: Log,
        position: u64,
        count_max: usize,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.memory.read(log, position, count_max).await
    }

    async fn counts(&self, log: Log) -> Result<Counts, QueueError> {
        self.memory.counts(log).await
    }
}

#[tokio::test]
async fn a_queue_that_was_away_brings_no_message_twice() {
    let memory = Memory::new(2);
    let flaky = Flaky { memory: memory.clone(), failures: Semaphore::new(1).into() };
    let served = serve(flaky, memory.clone()).await;
    let mut client = Raw::connect(served.address).await;
    assert!(client.ask(&hello("a").persistent().bytes(true)).await.is_some());
    assert!(client.ask(&subscribe(true, &["t"])).await.is_some());
    let log = Log { stream: Stream::Downlink, partition: 0 };
    let mut ids = Vec::new();
    for text in ["1", "2"] {
        let body = Downlink::new("t", 1, text.into()).encode();
        memory.append(vec![Message { log, id: text.into(), device: None, body }]).await.unwrap();
        let Some(Answer::Publish { payload, id, .. }) = client.hear().await else { panic!() };
        assert_eq!(payload, text.as_bytes());
        ids.extend(id);
    }
    let acks: Vec<u8> = ids.into_iter().flat_map(puback).collect();
    assert_eq!(client.ask(&[&acks[..], &PINGREQ].concat()).await, Some(Answer::Other(13)));
    served.stop().await;
    assert_eq!(memory.counts(log).await.unwrap().acknowledged, 2);
}

/// Sessions that are written only while nobody holds the lock.
#[derive(Clone)]
struct Slow {
    memory: Memory,
    busy: std::sync::Arc<tokio::sync::Mutex<()>>,
}

impl Sessions for Slow {
    async fn load_all(&self, gateway: &str) -> Result<Vec<SavedSession>, StoreError> {
        self.memory.load_all(gateway).await
    }

    async fn find(&self, client: &str) -> Result<Option<SavedSession>, StoreError> {
        self.memory.find(client).await
    }

    async fn change(&self, gateway: &str, changes: Vec<SessionChange>) -> Result<(), StoreError> {
        let _busy = self.busy.lock().await;
        self.memory.change(gateway, changes).await
    }
}

#[tokio::test]
async fn an_acknowledgement_does_not_wait_for_the_disk() {
    let memory = Memory::new(2);
    let slow = Slow { memory: memory.clone(), busy: Default::default() };
    let first = serve(memory.clone(), memory.clone()).await;
    let one = hello("keeper").persistent().bytes(true);
    let mut keeper = Raw::connect(first.address).await;
    assert!(keeper.ask(&one).await.is_some());
    assert!(keeper.ask(&subscribe(true, &["t"])).await.is_some());
    first.stop().await;
    let (client, message) = ("keeper".to_owned(), Downlink::new("t", 1, "1".into()).encode());
    memory.change("gateway", vec![SessionChange::Keep { client, key: 1, message }]).await.unwrap();

    let second = serve(memory.clone(), slow.clone()).await;
    let mut keeper = Raw::connect(second.address).await;
    assert!(keeper.ask(&one).await.is_some());
    let Some(Answer::Publish { id: Some(id), .. }) = keeper.hear().await else { panic!() };
    let busy = slow.busy.lock().await;
    let both = [&puback(id)[..], &PINGREQ].concat();
    assert_eq!(keeper.ask(&both).await, Some(Answer::Other(13)));
    assert_eq!(memory.load_all("gateway").await.unwrap()[0].pending.len(), 1);
    drop(busy);
    second.stop().await;
    assert_eq!(memory.load_all("gateway").await.unwrap()[0].pending.len(), 0);
}
