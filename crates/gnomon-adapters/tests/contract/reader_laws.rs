//! Laws of queues that several processes can open: named readers and followers.

use std::pin::pin;

use gnomon_host::port::{Consumer, Log, Queue, QueueError, Stream};

use crate::kind::{Kind, narrow, wide};
use crate::queue_laws::{ids, messages, poll, pull};

const LOG: Log = Log { stream: Stream::Downlink, partition: 0 };

fn is_closed<T>(answer: &Result<T, QueueError>) -> bool {
    matches!(answer, Err(QueueError::Closed))
}

pub(crate) async fn every_reader_sees_every_message_from_its_beginning_on<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    queue.append(messages(LOG, 0..2)).await.unwrap();
    let mut early = queue.consume_as(LOG, "early").await.unwrap();
    queue.append(messages(LOG, 2..4)).await.unwrap();
    let mut late = queue.consume_as(LOG, "late").await.unwrap();
    queue.append(messages(LOG, 4..5)).await.unwrap();
    assert_eq!(ids(&pull(&mut early, 3).await), ["2", "3", "4"]);
    assert_eq!(ids(&pull(&mut late, 1).await), ["4"]);
    assert_eq!(queue.readers(LOG).await.unwrap(), ["early", "late"]);
}

pub(crate) async fn a_reader_goes_on_behind_what_it_acknowledged<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let mut one = kind.port().consume_as(LOG, "a").await.unwrap();
    let mut other = kind.port().consume_as(LOG, "b").await.unwrap();
    kind.port().append(messages(LOG, 0..4)).await.unwrap();
    pull(&mut one, 4).await;
    one.acknowledge(&[1, 3]).await.unwrap();
    pull(&mut other, 4).await;
    other.acknowledge(&[1, 2, 3, 4]).await.unwrap();
    let mut again = kind.port().consume_as(LOG, "a").await.unwrap();
    assert!(is_closed(&one.pull(1).await), "the later consumer of a reader has the log");
    assert_eq!(ids(&pull(&mut again, 2).await), ["1", "3"]);
    drop((one, other, again));
    let Some(kind) = kind.reopen().await else { return };
    let mut again = kind.port().consume_as(LOG, "a").await.unwrap();
    assert_eq!(ids(&pull(&mut again, 2).await), ["1", "3"]);
}

pub(crate) async fn a_barred_reader_is_closed_and_its_floor_told<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    let mut reader = queue.consume_as(LOG, "a").await.unwrap();
    queue.append(messages(LOG, 0..5)).await.unwrap();
    pull(&mut reader, 5).await;
    reader.acknowledge(&[1, 2, 4]).await.unwrap();
    assert_eq!(queue.bar(LOG, "a").await.unwrap(), 2);
    assert!(is_closed(&reader.acknowledge(&[3]).await));
    assert!(is_closed(&reader.pull(1).await));
    let again = queue.consume_as(LOG, "a").await;
    assert!(matches!(again, Err(QueueError::Closed)), "it cannot open the log again either");
    assert_eq!(queue.bar(LOG, "a").await.unwrap(), 2, "asked again, the same is told");
    queue.retire(LOG, "a").await.unwrap();
    queue.retire(LOG, "nobody").await.unwrap();
    assert_eq!(queue.readers(LOG).await.unwrap(), Vec::<String>::new());
    // One of the same name is a new one.
    let mut reader = queue.consume_as(LOG, "a").await.unwrap();
    queue.append(messages(LOG, 5..6)).await.unwrap();
    assert_eq!(ids(&pull(&mut reader, 1).await), ["5"]);
}

pub(crate) async fn a_message_is_done_with_when_all_readers_have_it<K: Kind<Port: Queue>>() {
    let kind = K::fresh(narrow(1_000_000, 16)).await;
    let queue = kind.port();
    let mut quick = queue.consume_as(LOG, "quick").await.unwrap();
    let mut slow = queue.consume_as(LOG, "slow").await.unwrap();
    queue.append(messages(LOG, 0..100)).await.unwrap();
    let all: Vec<u64> = (1..=100).collect();
    pull(&mut quick, 100).await;
    quick.acknowledge(&all).await.unwrap();
    assert_eq!(queue.counts(LOG).await.unwrap().acknowledged, 0);
    assert_eq!(queue.read(LOG, 1, 1000).await.unwrap().len(), 100);
    pull(&mut slow, 100).await;
    slow.acknowledge(&all[..60]).await.unwrap();
    assert_eq!(queue.counts(LOG).await.unwrap().acknowledged, 60);
    let first = queue.read(LOG, 1, 1000).await.unwrap()[0].position;
    assert!((2..=61).contains(&first), "{first}");
    queue.retire(LOG, "slow").await.unwrap();
    assert_eq!(queue.counts(LOG).await.unwrap().acknowledged, 100);
}

pub(crate) async fn a_follower_hears_what_comes_from_now_on<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    queue.append(messages(LOG, 0..2)).await.unwrap();
    let (mut one, mut other) = (queue.follow(LOG).await.unwrap(), queue.follow(LOG).await.unwrap());
    assert!(poll(pin!(one.pull(1))).is_none());
    queue.append(messages(LOG, 2..4)).await.unwrap();
    for follower in [&mut one, &mut other] {
        assert_eq!(ids(&pull(follower, 2).await), ["2", "3"]);
        follower.acknowledge(&[3, 4]).await.unwrap();
    }
    assert_eq!(queue.counts(LOG).await.unwrap().acknowledged, 0);
    assert_eq!(queue.readers(LOG).await.unwrap(), Vec::<String>::new());
}
