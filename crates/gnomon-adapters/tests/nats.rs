//! What NATS alone can do to a queue: a connection that is cut while messages are on their way.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use std::sync::Arc;
use std::time::Duration;

use gnomon_adapters::{LogBounds, Nats, NatsOptions, QueueBounds};
use gnomon_host::port::{Consumer, Delivery, Log, Message, Queue, QueueError, Stream};
use gnomon_tests::stack::{Kind, Part};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const LOG: Log = Log { stream: Stream::Telemetry, partition: 0 };
const COUNT: u64 = 3000;
/// How long something may take that takes a second.
const SOON: Duration = Duration::from_secs(30);

/// A way to the server that can be cut. Its address.
async fn passage(to: std::net::SocketAddr, cut: Arc<Notify>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let cut = cut.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    // What ends by itself needs no cutting.
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    () = cut.notified() => {}
                }
            });
        }
    });
    format!("nats://{address}")
}

fn messages(ids: std::ops::Range<u64>) -> Vec<Message> {
    let body = bytes::Bytes::from(vec![b'x'; 1000]);
    ids.map(|id| Message { log: LOG, id: id.to_string(), device: None, body: body.clone() })
        .collect()
}

async fn pull(consumer: &mut impl Consumer, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
    tokio::time::timeout(SOON, consumer.pull(count_max)).await.expect("a pull ends")
}

#[tokio::test]
async fn what_a_cut_connection_swallows_comes_again() {
    let part = Part::start(Kind::Nats);
    let cut = Arc::new(Notify::new());
    let url = passage(part.address(), cut.clone()).await;
    let direct = Nats::open(&NatsOptions::new(&part.url(), 1)).await.unwrap();
    let queue = Nats::open(&NatsOptions::new(&url, 1)).await.unwrap();
    for first in (0..COUNT).step_by(500) {
        let some = messages(first..first + 500);
        // Each its own lane would take a round trip; appended side by side, in any order.
        let appends = some.into_iter().map(|one| direct.append(vec![one]));
        futures_util::future::try_join_all(appends).await.unwrap();
    }
    let mut consumer = queue.consume(LOG).await.unwrap();
    let (mut next, mut cuts) = (1, 0);
    while next <= COUNT {
        // Cut now and then while hundreds are on their way, at the end too.
        if next / 700 >= cuts && cuts < 4 {
            cuts += 1;
            cut.notify_waiters();
        }
        match pull(&mut consumer, 100).await {
            Ok(found) => {
                for one in &found {
                    assert_eq!(one.position, next, "in order, without a gap");
                    next += 1;
                }
                let positions: Vec<_> = found.iter().map(|one| one.position).collect();
                match consumer.acknowledge(&positions).await {
                    Ok(()) => {}
                    Err(QueueError::Unavailable { .. }) => {
                        consumer = reopen(&queue).await;
                        next = queue.counts(LOG).await.unwrap().acknowledged + 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Err(QueueError::Unavailable { .. }) => consumer = reopen(&queue).await,
            Err(error) => panic!("{error}"),
        }
    }
    // With nothing more to come, a cut still ends the consumer: it cannot know what it missed.
    cut.notify_waiters();
    let error = pull(&mut consumer, 1).await.unwrap_err();
    assert!(matches!(error, QueueError::Unavailable { .. }), "{error}");
    let counts = direct.counts(LOG).await.unwrap();
    assert_eq!((counts.appended, counts.acknowledged), (COUNT, COUNT));
}

#[tokio::test]
async fn a_message_that_somebody_removed_is_missing() {
    let part = Part::start(Kind::Nats);
    let queue = Nats::open(&NatsOptions::new(&part.url(), 1)).await.unwrap();
    queue.append(messages(0..10)).await.unwrap();
    let mut consumer = queue.consume(LOG).await.unwrap();
    let count = pull(&mut consumer, 4).await.unwrap().len() as u64;
    consumer.acknowledge(&(1..=count).collect::<Vec<_>>()).await.unwrap();
    let client = async_nats::connect(&part.url()).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("gnomon-telemetry-0").await.unwrap();
    stream.delete_message(8).await.unwrap();
    let counts = queue.counts(LOG).await.unwrap();
    assert_eq!((counts.appended, counts.pending, counts.missing()), (10, 9 - count, 1));
    stream.purge().sequence(10).await.unwrap();
    assert_eq!(queue.counts(LOG).await.unwrap().missing(), 9 - count);
}

#[tokio::test]
async fn what_is_old_goes_and_what_is_pending_stays_however_old() {
    let part = Part::start(Kind::Nats);
    let bounds = LogBounds::consumed(10_000, 64 << 20).for_at_most(Duration::from_millis(300));
    let bounds = QueueBounds::uniform(bounds);
    let options = NatsOptions { bounds, ..NatsOptions::new(&part.url(), 1) };
    let queue = Nats::open(&options).await.unwrap();
    queue.append(messages(0..100)).await.unwrap();
    let mut consumer = queue.consume(LOG).await.unwrap();
    consumer.acknowledge(&(1..=50).collect::<Vec<_>>()).await.unwrap();
    let first = async || queue.read(LOG, 1, 1).await.unwrap()[0].position;
    assert_eq!(first().await, 1, "nothing is old yet");
    let (began, mut next) = (std::time::Instant::now(), 101);
    let mut purged = None;
    // Acknowledged ones behind the pending ones, until everything is older than is kept, twice over.
    while purged.is_none_or(|at: Duration| began.elapsed() < at * 2) {
        assert!(began.elapsed() < SOON, "nothing goes");
        queue.append(messages(next..next + 1)).await.unwrap();
        consumer.acknowledge(&[next]).await.unwrap();
        next += 1;
        let first = first().await;
        assert!(first <= 51, "{first} is gone and was pending");
        if first == 51 {
            purged.get_or_insert(began.elapsed());
        }
    }
    assert!(purged.unwrap() >= Duration::from_millis(250), "{purged:?}");
    let counts = queue.counts(LOG).await.unwrap();
    assert_eq!((counts.pending, counts.missing()), (50, 0));
    let pending = pull(&mut consumer, 1).await.unwrap();
    assert_eq!(pending[0].position, 51);
}

/// Opens the log again as soon as the connection is back.
async fn reopen(queue: &Nats) -> <Nats as Queue>::Consumer {
    tokio::time::timeout(SOON, async {
        loop {
            match queue.consume(LOG).await {
                Ok(consumer) => return consumer,
                Err(QueueError::Unavailable { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
    .expect("the connection comes back")
}
