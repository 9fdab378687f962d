//! Several gateways on one queue and one store, over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use gnomon_adapters::memory::Memory;
use gnomon_host::port::{Consumer, Log, Queue, Sessions, Stream};

use super::shell::{Raw, Served, serve_with};
use super::{Answer, DISCONNECT, Hello, hello, puback, publish_1, subscribe};
use crate::GatewayOptions;

const DOWNLINK: Log = Log { stream: Stream::Downlink, partition: 0 };
/// How long a message may take; far longer than it does.
const PATIENCE: Duration = Duration::from_secs(10);
const TAKEN_OVER: u8 = 0x8e;

async fn gateway(memory: &Memory) -> Served {
    let options = GatewayOptions { has_peers: true, ..GatewayOptions::default() };
    serve_with(memory.clone(), memory.clone(), options).await
}

/// Names of the gateways that have the log open.
async fn names(memory: &Memory) -> Vec<String> {
    let readers = memory.readers(DOWNLINK).await.unwrap();
    readers.iter().map(|reader| reader.strip_prefix("gateway-").unwrap().to_owned()).collect()
}

async fn connect(address: SocketAddr, hello: &Hello, present: bool) -> Raw {
    let mut client = Raw::connect(address).await;
    let answer = client.ask(&hello.bytes(true)).await;
    assert_eq!(answer, Some(Answer::Connack { present, code: 0 }));
    client
}

async fn listen(address: SocketAddr, hello: &Hello) -> Raw {
    let mut client = connect(address, hello, false).await;
    assert_eq!(client.ask(&subscribe(true, &["lab/x"])).await, Some(Answer::Suback(vec![1])));
    client
}

async fn part(mut client: Raw) {
    client.say(&DISCONNECT).await;
    assert_eq!(client.hear().await, None);
}

/// Publishes from a client of its own.
async fn tell(address: SocketAddr, payloads: &[&str]) {
    let mut client = connect(address, &hello("teller"), false).await;
    for (id, payload) in (1..).zip(payloads) {
        let answer = client.ask(&publish_1(true, "lab/x", payload.as_bytes(), id)).await;
        assert_eq!(answer, Some(Answer::Puback { id, code: 0 }));
    }
    part(client).await;
}

/// The next message, which is acknowledged.
async fn hear(client: &mut Raw) -> String {
    let heard = tokio::time::timeout(PATIENCE, client.hear()).await;
    let Ok(Some(Answer::Publish { payload, id: Some(id), .. })) = heard else {
        panic!("no message but {heard:?}")
    };
    client.say(&puback(id)).await;
    String::from_utf8(payload.to_vec()).unwrap()
}

#[tokio::test]
async fn a_message_reaches_its_subscribers_wherever_they_are() {
    let memory = Memory::new(1);
    let (a, b) = (gateway(&memory).await, gateway(&memory).await);
    let mut here = listen(a.address, &hello("here")).await;
    let mut there = listen(b.address, &hello("there").persistent()).await;
    for (address, text) in [(a.address, "from a"), (b.address, "from b")] {
        tell(address, &[text]).await;
        assert_eq!(hear(&mut here).await, text);
        assert_eq!(hear(&mut there).await, text);
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_session_goes_where_its_client_connects() {
    let memory = Memory::new(1);
    let (a, b) = (gateway(&memory).await, gateway(&memory).await);
    let one = hello("one").persistent();
    part(listen(a.address, &one).await).await;
    for (round, (to, from)) in [(&b, &a), (&a, &b), (&b, &b)].into_iter().enumerate() {
        let texts = [0, 1, 2].map(|number| format!("{round}.{number}"));
        tell(from.address, &texts.each_ref().map(|text| &**text)).await;
        let mut client = connect(to.address, &one, true).await;
        for text in &texts {
            assert_eq!(hear(&mut client).await, *text);
        }
        let last = format!("{round} here");
        tell(from.address, &[&last]).await;
        assert_eq!(hear(&mut client).await, last, "nothing twice");
        part(client).await;
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_client_that_connects_elsewhere_ends_its_connection_here() {
    let memory = Memory::new(1);
    let (a, b) = (gateway(&memory).await, gateway(&memory).await);
    for one in [hello("anew"), hello("persistent").persistent()] {
        let is_persistent = one.expiry_s > 0;
        let mut here = listen(a.address, &one).await;
        tell(b.address, &["unacknowledged"]).await;
        assert!(matches!(here.hear().await, Some(Answer::Publish { .. })));
        let mut there = connect(b.address, &one, is_persistent).await;
        assert_eq!(here.hear().await, Some(Answer::Disconnect(TAKEN_OVER)));
        assert_eq!(here.hear().await, None);
        if is_persistent {
            assert_eq!(hear(&mut there).await, "unacknowledged");
            tell(a.address, &["next"]).await;
            assert_eq!(hear(&mut there).await, "next");
        }
        part(there).await;
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_gateway_that_dies_leaves_its_sessions_to_another() {
    let memory = Memory::new(1);
    let a = gateway(&memory).await;
    let one = hello("one").persistent();
    let mut client = listen(a.address, &one).await;
    tell(a.address, &["received", "unacknowledged"]).await;
    assert_eq!(hear(&mut client).await, "received");
    let [dead] = &names(&memory).await[..] else { panic!("one gateway") };
    a.running.abort();
    // While nobody is there, and before it is missed.
    let downlink = gnomon_host::downlink::Downlink::new("lab/x", 1, "meanwhile".into());
    let message = gnomon_host::port::Message {
        log: DOWNLINK,
        id: "m".into(),
        device: None,
        body: downlink.encode(),
    };
    memory.append(vec![message]).await.unwrap();
    let b = gateway(&memory).await;
    let waiting = tokio::spawn(async move { connect(b.address, &one, true).await });
    memory.leave("gateway", dead).await.unwrap();
    let mut client = waiting.await.unwrap();
    let mut heard = [hear(&mut client).await, hear(&mut client).await];
    if heard[0] == "received" {
        // Acknowledged to a gateway that died before it could note that.
        heard.rotate_left(1);
        heard[1] = hear(&mut client).await;
    }
    assert_eq!(heard, ["unacknowledged", "meanwhile"]);
    tell(b.address, &["after"]).await;
    assert_eq!(hear(&mut client).await, "after");
    b.stop().await;
}

#[tokio::test]
async fn a_gateway_that_was_missed_begins_anew() {
    let memory = Memory::new(1);
    let a = gateway(&memory).await;
    let one = hello("one").persistent();
    let mut client = listen(a.address, &one).await;
    let [name] = &names(&memory).await[..] else { panic!("one gateway") };
    // As another gateway does that thinks it dead.
    memory.bar(DOWNLINK, &format!("gateway-{name}")).await.unwrap();
    memory.leave("gateway", name).await.unwrap();
    assert_eq!(client.hear().await, Some(Answer::Disconnect(0x8b)));
    let mut client = connect(a.address, &one, true).await;
    tell(a.address, &["after"]).await;
    assert_eq!(hear(&mut client).await, "after");
    assert_ne!(names(&memory).await, std::slice::from_ref(name));
    a.stop().await;
}

#[tokio::test]
async fn a_session_that_never_came_is_passed_on() {
    let memory = Memory::new(1);
    let (a, b) = (gateway(&memory).await, gateway(&memory).await);
    let one = hello("one").persistent();
    part(listen(a.address, &one).await).await;
    let found = memory.find("one").await.unwrap().unwrap();
    let names = names(&memory).await;
    let other = names.iter().find(|name| **name != found.gateway).unwrap();
    // Handed over, but the client was gone before it had come.
    let claim = gnomon_host::downlink::Claim {
        client: "one".into(),
        gateway: other.clone(),
        clean_start: false,
    };
    let message = gnomon_host::port::Message {
        log: DOWNLINK,
        id: "c".into(),
        device: None,
        body: claim.encode(),
    };
    let mut follower = memory.follow(DOWNLINK).await.unwrap();
    memory.append(vec![message]).await.unwrap();
    follower.pull(1).await.unwrap();
    tell(b.address, &["kept"]).await;
    let mut client = connect(a.address, &one, true).await;
    assert_eq!(hear(&mut client).await, "kept");
    a.stop().await;
    b.stop().await;
}

/// A gateway that can be killed with everything it runs.
struct Mortal {
    address: SocketAddr,
    name: String,
    runtime: tokio::runtime::Runtime,
}

impl Mortal {
    async fn start(memory: &Memory) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (before, of) = (names(memory).await, memory.clone());
        let started = runtime.spawn(async move { gateway(&of).await });
        let address = started.await.unwrap().address;
        // The log is open once a client is served.
        part(connect(address, &hello("teller"), false).await).await;
        let name = names(memory).await.into_iter().find(|name| !before.contains(name)).unwrap();
        Self { address, name, runtime }
    }

    async fn kill(self, memory: &Memory) {
        self.runtime.shutdown_background();
        memory.leave("gateway", &self.name).await.unwrap();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Publish(usize, u8),
    /// Connects, and reads all that waits or nothing.
    Connect(usize, bool),
    Part,
    Kill(usize),
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    use proptest::prelude::*;
    let step = prop_oneof![
        4 => (0..3_usize, 1..4_u8).prop_map(|(at, count)| Step::Publish(at, count)),
        4 => (0..3_usize, any::<bool>()).prop_map(|(at, reads)| Step::Connect(at, reads)),
        1 => Just(Step::Part),
        1 => (0..3_usize).prop_map(Step::Kill),
    ];
    prop::collection::vec(step, 1..24)
}

/// What a client with a persistent session heard, and whether a gateway was killed before.
struct Listener {
    connection: Option<Raw>,
    heard: Vec<u32>,
    published: u32,
}

impl Listener {
    /// Reads until everything published was heard, and has it acknowledged.
    async fn read(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let missing = |heard: &[u32], published| (0..published).any(|one| !heard.contains(&one));
        while missing(&self.heard, self.published) {
            self.heard.push(hear(connection).await.parse().unwrap());
        }
        connection.say(&super::shell::PINGREQ).await;
        loop {
            match connection.hear().await {
                Some(Answer::Other(13)) => return,
                Some(Answer::Publish { payload, id: Some(id), .. }) => {
                    self.heard.push(String::from_utf8(payload.to_vec()).unwrap().parse().unwrap());
                    connection.say(&puback(id)).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn walk(steps: Vec<Step>) -> (Vec<u32>, u32, bool) {
    let (memory, one) = (Memory::new(1), hello("one").persistent());
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(Mortal::start(&memory).await);
    }
    part(listen(gateways[0].address, &one).await).await;
    let mut listener = Listener { connection: None, heard: Vec::new(), published: 0 };
    let mut killed = false;
    for step in steps.into_iter().chain([Step::Connect(0, true)]) {
        match step {
            Step::Publish(at, count) => {
                let numbers = listener.published..listener.published + u32::from(count);
                let texts: Vec<String> = numbers.map(|number| number.to_string()).collect();
                let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
                tell(gateways[at].address, &texts).await;
                listener.published += u32::from(count);
            }
            Step::Connect(at, reads) => {
                let earlier = listener.connection.take();
                listener.connection = Some(connect(gateways[at].address, &one, true).await);
                drop(earlier);
                if reads {
                    listener.read().await;
                }
            }
            Step::Part => {
                if let Some(connection) = listener.connection.take() {
                    drop(connection);
                }
            }
            Step::Kill(at) => {
                // Whatever it served is gone with it.
                listener.connection = None;
                gateways.remove(at).kill(&memory).await;
                gateways.push(Mortal::start(&memory).await);
                killed = true;
            }
        }
    }
    gateways.into_iter().for_each(|one| one.runtime.shutdown_background());
    (listener.heard, listener.published, killed)
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(10))]

    /// Whichever gateway a client connects to and whichever dies: it has every message, in order,
    /// and nothing twice that it acknowledged to a gateway that lived on.
    #[test]
    fn a_client_that_wanders_has_every_message_once(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (heard, published, killed) = runtime.block_on(walk(steps));
        let mut firsts = Vec::new();
        for number in &heard {
            if !firsts.contains(number) {
                firsts.push(*number);
            }
        }
        proptest::prop_assert_eq!(&firsts, &(0..published).collect::<Vec<_>>());
        proptest::prop_assert!(killed || heard.len() == firsts.len(), "twice: {:?}", heard);
    }
}
