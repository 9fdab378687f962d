//! Laws of the queue.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use gnomon_host::port::{Consumer, Counts, Delivery, Log, Message, Queue, QueueError, Stream};

use crate::kind::{Kind, narrow, wide};

const LOG: Log = Log { stream: Stream::Telemetry, partition: 3 };
const OTHER: Log = Log { stream: Stream::Downlink, partition: 0 };
const DEAD: Log = Log { stream: Stream::Dead, partition: 0 };

fn message(log: Log, id: impl ToString) -> Message {
    let id = id.to_string();
    Message { log, body: format!("body of {id}").into(), device: None, id }
}

pub(crate) fn messages(log: Log, ids: impl IntoIterator<Item = u32>) -> Vec<Message> {
    ids.into_iter().map(|id| message(log, id)).collect()
}

pub(crate) fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|one| one.id.as_str()).collect()
}

/// Polls once: an answer that is there, or none.
pub(crate) fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Pulls exactly `count` messages, however they are cut.
pub(crate) async fn pull(consumer: &mut impl Consumer, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(consumer.pull(count - all.len()).await.unwrap());
    }
    all
}

/// Whether nothing is there to pull: a sentinel appended now is what comes next.
async fn assert_drained(queue: &impl Queue, consumer: &mut impl Consumer, log: Log) {
    queue.append(vec![message(log, "sentinel")]).await.unwrap();
    assert_eq!(ids(&pull(consumer, 1).await), ["sentinel"]);
}

pub(crate) async fn order_is_kept_per_log<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    for round in 0..20 {
        let mut batch = messages(LOG, round * 10..round * 10 + 10);
        batch.extend(messages(OTHER, round * 10..round * 10 + 10));
        queue.append(batch).await.unwrap();
    }
    for log in [LOG, OTHER] {
        let mut consumer = queue.consume(log).await.unwrap();
        let found = pull(&mut consumer, 200).await;
        let expected: Vec<_> = (0..200).map(|id| id.to_string()).collect();
        assert_eq!(ids(&found), expected);
        assert_eq!(&found[7].body[..], b"body of 7");
    }
}

pub(crate) async fn positions_begin_at_one_and_increase<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    kind.port().append(messages(LOG, 0..50)).await.unwrap();
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    let found = pull(&mut consumer, 50).await;
    assert_eq!(found[0].position, 1);
    assert!(found.is_sorted_by(|a, b| a.position < b.position));
}

pub(crate) async fn what_is_appended_survives_a_reopen<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    kind.port().append(messages(LOG, 0..500)).await.unwrap();
    kind.port().append(messages(LOG, 500..501)).await.unwrap();
    let Some(kind) = kind.reopen().await else { return };
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    let found = pull(&mut consumer, 501).await;
    assert_eq!(ids(&found), (0..501).map(|id| id.to_string()).collect::<Vec<_>>());
    assert_drained(kind.port(), &mut consumer, LOG).await;
}

pub(crate) async fn an_id_is_appended_once<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    queue.append(messages(LOG, [1, 2])).await.unwrap();
    queue.append(messages(LOG, [2, 3, 1])).await.unwrap();
    let mut consumer = queue.consume(LOG).await.unwrap();
    assert_eq!(ids(&pull(&mut consumer, 3).await), ["1", "2", "3"]);
    consumer.acknowledge(&[1, 2, 3]).await.unwrap();
    queue.append(messages(LOG, [1, 2, 3])).await.unwrap();
    assert_drained(queue, &mut consumer, LOG).await;
    assert_eq!(queue.counts(LOG).await.unwrap().appended, 4);
}

pub(crate) async fn an_id_is_appended_once_within_a_batch<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    kind.port().append(messages(LOG, [1, 1, 2, 1])).await.unwrap();
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    assert_eq!(ids(&pull(&mut consumer, 2).await), ["1", "2"]);
    assert_drained(kind.port(), &mut consumer, LOG).await;
}

pub(crate) async fn an_id_is_absorbed_after_a_reopen_too<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    kind.port().append(messages(LOG, [1, 2])).await.unwrap();
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    let found = pull(&mut consumer, 2).await;
    consumer.acknowledge(&[found[0].position]).await.unwrap();
    drop(consumer);
    let Some(kind) = kind.reopen().await else { return };
    kind.port().append(messages(LOG, [1, 2, 3])).await.unwrap();
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    assert_eq!(ids(&pull(&mut consumer, 2).await), ["2", "3"]);
    assert_eq!(kind.port().counts(LOG).await.unwrap().appended, 3);
}

pub(crate) async fn an_id_is_known_per_log<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    kind.port().append(vec![message(LOG, 1), message(OTHER, 1)]).await.unwrap();
    for log in [LOG, OTHER] {
        assert_eq!(kind.port().counts(log).await.unwrap().appended, 1);
    }
}

pub(crate) async fn unacknowledged_messages_are_delivered_again<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    kind.port().append(messages(LOG, 0..10)).await.unwrap();
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    let found = pull(&mut consumer, 10).await;
    consumer.acknowledge(&[found[0].position, found[4].position]).await.unwrap();
    drop(consumer);
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    let again = pull(&mut consumer, 8).await;
    assert_eq!(ids(&again), ["1", "2", "3", "5", "6", "7", "8", "9"]);
    assert_eq!(again[0].position, found[1].position);
    assert_drained(kind.port(), &mut consumer, LOG).await;
}

pub(crate) async fn acknowledgements_may_come_in_any_order<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    kind.port().append(messages(LOG, 0..100)).await.unwrap();
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    let found = pull(&mut consumer, 100).await;
    // 37 is coprime to 100: every position once, none in order.
    for step in 0..99 {
        let position = found[(step * 37 + 5) % 100].position;
        consumer.acknowledge(&[position]).await.unwrap();
    }
    let left = ids(&found)[(99 * 37 + 5) % 100].to_owned();
    assert_eq!(kind.port().counts(LOG).await.unwrap().acknowledged, 99);
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    assert_eq!(ids(&pull(&mut consumer, 1).await), [left]);
    assert_drained(kind.port(), &mut consumer, LOG).await;
}

pub(crate) async fn acknowledging_twice_or_what_never_was_changes_nothing<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    kind.port().append(messages(LOG, 0..3)).await.unwrap();
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    consumer.acknowledge(&[2, 2, 0, 4, u64::MAX]).await.unwrap();
    consumer.acknowledge(&[2]).await.unwrap();
    consumer.acknowledge(&[]).await.unwrap();
    assert_eq!(kind.port().counts(LOG).await.unwrap().acknowledged, 1);
    assert_eq!(ids(&pull(&mut consumer, 2).await), ["0", "2"]);
}

pub(crate) async fn acknowledgements_survive_a_close<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    kind.port().append(messages(LOG, 0..10)).await.unwrap();
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    consumer.acknowledge(&[1, 2, 3, 4]).await.unwrap();
    drop(consumer);
    let Some(kind) = kind.reopen().await else { return };
    let counts = kind.port().counts(LOG).await.unwrap();
    assert_eq!((counts.appended, counts.acknowledged), (10, 4));
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    assert_eq!(pull(&mut consumer, 1).await[0].position, 5);
}

pub(crate) async fn a_batch_over_several_logs_goes_in_as_one<K: Kind<Port: Queue>>() {
    let kind = K::fresh(narrow(3, 100)).await;
    let queue = kind.port();
    queue.append(messages(OTHER, 0..2)).await.unwrap();
    let mut batch = messages(LOG, 0..3);
    batch.extend(messages(OTHER, 10..12));
    let error = queue.append(batch.clone()).await.unwrap_err();
    assert!(matches!(error, QueueError::Full { .. }), "{error}");
    assert_eq!(queue.counts(LOG).await.unwrap().appended, 0);
    assert_eq!(queue.counts(OTHER).await.unwrap().appended, 2);
    batch.pop();
    queue.append(batch).await.unwrap();
    assert_eq!(queue.counts(LOG).await.unwrap().appended, 3);
    assert_eq!(queue.counts(OTHER).await.unwrap().appended, 3);
}

pub(crate) async fn a_full_log_refuses_and_recovers<K: Kind<Port: Queue>>() {
    let kind = K::fresh(narrow(5, 100)).await;
    let queue = kind.port();
    queue.append(messages(LOG, 0..5)).await.unwrap();
    let error = queue.append(messages(LOG, 5..6)).await.unwrap_err().to_string();
    assert!(error.contains("telemetry/3") && error.contains("bound 5"), "{error}");
    queue.append(messages(OTHER, 5..6)).await.unwrap();
    let mut consumer = queue.consume(LOG).await.unwrap();
    pull(&mut consumer, 5).await;
    consumer.acknowledge(&[4, 2]).await.unwrap();
    queue.append(messages(LOG, 5..7)).await.unwrap();
    queue.append(messages(LOG, 7..8)).await.unwrap_err();
    assert_eq!(ids(&pull(&mut consumer, 2).await), ["5", "6"]);
}

pub(crate) async fn a_known_id_is_absorbed_by_a_full_log<K: Kind<Port: Queue>>() {
    let kind = K::fresh(narrow(2, 100)).await;
    kind.port().append(messages(LOG, 0..2)).await.unwrap();
    kind.port().append(messages(LOG, 0..2)).await.unwrap();
    assert_eq!(kind.port().counts(LOG).await.unwrap().appended, 2);
}

pub(crate) async fn appended_is_acknowledged_plus_pending<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    let counts = queue.counts(LOG).await.unwrap();
    assert_eq!((counts.appended, counts.acknowledged), (0, 0));
    queue.append(messages(LOG, 0..20)).await.unwrap();
    let mut consumer = queue.consume(LOG).await.unwrap();
    consumer.acknowledge(&[1, 2, 9, 17]).await.unwrap();
    let counts = queue.counts(LOG).await.unwrap();
    assert_eq!((counts.appended, counts.acknowledged), (20, 4));
    let pending = pull(&mut consumer, 16).await;
    assert_eq!(pending.len() as u64, counts.appended - counts.acknowledged);
    assert_drained(queue, &mut consumer, LOG).await;
}

pub(crate) async fn what_is_buried_is_acknowledged_and_counted_as_dead<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    kind.port().append(messages(LOG, 0..20)).await.unwrap();
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    pull(&mut consumer, 20).await;
    consumer.acknowledge(&[1, 2, 5]).await.unwrap();
    consumer.bury(&[3, 5, 7]).await.unwrap();
    // Once more, as after an answer that got lost.
    consumer.bury(&[7]).await.unwrap();
    let expected = Counts { appended: 20, acknowledged: 5, dead: 2, pending: 15 };
    assert_eq!(kind.port().counts(LOG).await.unwrap(), expected);
    assert_eq!((expected.applied(), expected.missing()), (3, 0));
    consumer.acknowledge(&[4, 6]).await.unwrap();
    // Behind a hole, so that it may be forgotten with its acknowledgement, but not without.
    consumer.bury(&[9]).await.unwrap();
    drop(consumer);
    let Some(kind) = kind.reopen().await else { return };
    let counts = kind.port().counts(LOG).await.unwrap();
    assert_eq!((counts.applied(), counts.missing()), (5, 0));
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    consumer.bury(&[9]).await.unwrap();
    let expected = Counts { appended: 20, acknowledged: 8, dead: 3, pending: 12 };
    assert_eq!(kind.port().counts(LOG).await.unwrap(), expected);
    assert_eq!(ids(&pull(&mut consumer, 2).await), ["7", "9"]);
}

pub(crate) async fn progress_tells_what_is_acknowledged_and_takes_nothing_over<
    K: Kind<Port: Queue>,
>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    let progress = queue.progress(LOG).await.unwrap();
    assert_eq!((progress.first, progress.floor, progress.last()), (1, 0, 0));
    queue.append(messages(LOG, 0..10)).await.unwrap();
    let mut consumer = queue.consume(LOG).await.unwrap();
    consumer.acknowledge(&[1, 2, 4]).await.unwrap();
    consumer.bury(&[7]).await.unwrap();
    let progress = queue.progress(LOG).await.unwrap();
    assert_eq!((progress.first, progress.floor, progress.last()), (1, 2, 7));
    let acknowledged: Vec<u64> = (1..=10).filter(|at| progress.is_acknowledged(*at)).collect();
    assert_eq!(acknowledged, [1, 2, 4, 7]);
    assert_eq!(progress.log_id, consumer.log_id());
    consumer.acknowledge(&[3]).await.unwrap();
    assert_eq!(queue.progress(LOG).await.unwrap().floor, 4);
}

pub(crate) async fn forgotten_dead_letters_are_no_longer_read<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    queue.append(messages(DEAD, 0..30)).await.unwrap();
    queue.forget_dead(&[3, 4, 30, 31, 0, u64::MAX, 4]).await.unwrap();
    queue.forget_dead(&[3, 10]).await.unwrap();
    queue.append(messages(DEAD, [3, 30])).await.unwrap();
    queue.forget_dead(&[]).await.unwrap();
    let expected: Vec<u64> = (1..=31).filter(|at| ![3, 4, 10, 30].contains(at)).collect();
    let assert_forgotten = async |queue: &K::Port| {
        let found = queue.read(DEAD, 1, 100).await.unwrap();
        assert_eq!(found.iter().map(|one| one.position).collect::<Vec<_>>(), expected);
        assert_eq!(found[2].body, "body of 4");
        let two = queue.read(DEAD, 3, 2).await.unwrap();
        assert_eq!(two.iter().map(|one| one.position).collect::<Vec<_>>(), [5, 6]);
        let counts = queue.counts(DEAD).await.unwrap();
        assert_eq!((counts.appended, counts.pending, counts.missing()), (31, 27, 4));
    };
    assert_forgotten(queue).await;
    let Some(kind) = kind.reopen().await else { return };
    assert_forgotten(kind.port()).await;
    // What is in the file as a row is forgotten as well.
    kind.port().forget_dead(&[1, 31]).await.unwrap();
    assert_eq!(kind.port().read(DEAD, 1, 1).await.unwrap()[0].position, 2);
    let Some(kind) = kind.reopen().await else { return };
    let left = kind.port().read(DEAD, 1, 100).await.unwrap();
    assert_eq!((left.len(), left[0].position, left[24].position), (25, 2, 29));
}

pub(crate) async fn forgotten_letters_make_room_for_none_and_are_dropped_with_the_others<
    K: Kind<Port: Queue>,
>() {
    let kind = K::fresh(narrow(100, 20)).await;
    let queue = kind.port();
    queue.append(messages(DEAD, 0..10)).await.unwrap();
    queue.forget_dead(&[2, 9]).await.unwrap();
    for id in 10..60 {
        queue.append(messages(DEAD, [id])).await.unwrap();
    }
    let counts = queue.counts(DEAD).await.unwrap();
    assert_eq!(counts.appended, 60);
    assert!((20..=22).contains(&counts.pending), "{counts:?}");
    assert_eq!(queue.read(DEAD, 1, 100).await.unwrap().len() as u64, counts.pending);
}

pub(crate) async fn a_closed_queue_says_so<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    queue.append(messages(LOG, 0..3)).await.unwrap();
    let mut consumer = queue.consume(LOG).await.unwrap();
    kind.close().await;
    kind.close().await;
    let closed = |error| assert!(matches!(error, QueueError::Closed), "{error}");
    closed(queue.append(messages(LOG, 3..4)).await.unwrap_err());
    closed(queue.consume(LOG).await.map(|_| ()).unwrap_err());
    closed(queue.read(LOG, 1, 1).await.unwrap_err());
    closed(queue.counts(LOG).await.unwrap_err());
    closed(consumer.pull(1).await.unwrap_err());
    closed(consumer.acknowledge(&[1]).await.unwrap_err());
}

pub(crate) async fn closing_wakes_a_waiting_pull<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    let waiting = consumer.pull(1);
    let (pulled, ()) = tokio::join!(biased; waiting, kind.close());
    assert!(matches!(pulled.unwrap_err(), QueueError::Closed));
}

pub(crate) async fn a_dropped_pull_loses_nothing<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    let mut consumer = queue.consume(LOG).await.unwrap();
    let mut found = Vec::new();
    for id in 0..200 {
        // Once before and a few times after the append, each time dropped at its first wait.
        for _ in 0..=id % 3 {
            if let Some(pulled) = poll(pin!(consumer.pull(2))) {
                found.extend(pulled.unwrap());
            }
            tokio::task::yield_now().await;
        }
        queue.append(messages(LOG, [id])).await.unwrap();
    }
    let left = 200 - found.len();
    found.extend(pull(&mut consumer, left).await);
    assert_eq!(ids(&found), (0..200).map(|id| id.to_string()).collect::<Vec<_>>());
    assert_drained(queue, &mut consumer, LOG).await;
}

pub(crate) async fn a_pull_waits_for_the_next_message<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    let mut consumer = queue.consume(LOG).await.unwrap();
    for id in 0..50 {
        let append = async { queue.append(messages(LOG, [id])).await.unwrap() };
        let (pulled, ()) = tokio::join!(biased; consumer.pull(10), append);
        assert_eq!(ids(&pulled.unwrap()), [id.to_string()]);
    }
}

pub(crate) async fn a_second_consumer_takes_over<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    let mut first = queue.consume(LOG).await.unwrap();
    let (pulled, second) = tokio::join!(biased; first.pull(1), queue.consume(LOG));
    assert!(matches!(pulled.unwrap_err(), QueueError::Closed));
    assert!(matches!(first.acknowledge(&[1]).await.unwrap_err(), QueueError::Closed));
    queue.append(messages(LOG, [1])).await.unwrap();
    let mut second = second.unwrap();
    assert_eq!(ids(&pull(&mut second, 1).await), ["1"]);
    drop(first);
    assert_drained(queue, &mut second, LOG).await;
}

pub(crate) async fn a_log_made_anew_has_another_identity<K: Kind<Port: Queue>>() {
    let (one, two) = (K::fresh(wide()).await, K::fresh(wide()).await);
    let identity =
        async |kind: &K, log| kind.port().consume(log).await.unwrap().log_id().to_owned();
    let before = identity(&one, LOG).await;
    assert_ne!(before, identity(&two, LOG).await);
    assert_ne!(before, identity(&one, OTHER).await);
    assert!(before.starts_with("telemetry/3@"), "{before}");
    if let Some(one) = one.reopen().await {
        assert_eq!(before, identity(&one, LOG).await);
    }
}

pub(crate) async fn reading_shows_acknowledged_messages<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let queue = kind.port();
    queue.append(messages(LOG, 0..20)).await.unwrap();
    let mut consumer = queue.consume(LOG).await.unwrap();
    consumer.acknowledge(&(1..=15).collect::<Vec<_>>()).await.unwrap();
    let read = async |position, count| {
        let found = queue.read(LOG, position, count).await.unwrap();
        found.iter().map(|one| one.position).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 3).await, [1, 2, 3]);
    assert_eq!(read(14, 4).await, [14, 15, 16, 17]);
    assert_eq!(read(19, 100).await, [19, 20]);
    assert_eq!(read(21, 100).await, [0_u64; 0]);
    assert_eq!(read(1, 0).await, [0_u64; 0]);
    assert_eq!(queue.read(LOG, 8, 1).await.unwrap()[0].body, "body of 7");
}

pub(crate) async fn old_messages_are_dropped_and_positions_go_on<K: Kind<Port: Queue>>() {
    let mut kind = K::fresh(narrow(10, 5)).await;
    for round in 0..30 {
        let queue = kind.port();
        queue.append(messages(LOG, round * 10..round * 10 + 10)).await.unwrap();
        let mut consumer = queue.consume(LOG).await.unwrap();
        let found = pull(&mut consumer, 10).await;
        assert_eq!(found[9].position, u64::from(round) * 10 + 10);
        let positions: Vec<_> = found.iter().map(|one| one.position).collect();
        consumer.acknowledge(&positions).await.unwrap();
        drop(consumer);
        if round % 10 == 9 {
            kind = match kind.reopen().await {
                Some(kind) => kind,
                None => return,
            };
        }
    }
    let counts = kind.port().counts(LOG).await.unwrap();
    assert_eq!((counts.appended, counts.acknowledged), (300, 300));
    let kept = kind.port().read(LOG, 0, 1000).await.unwrap();
    assert!((5..=30).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept[kept.len() - 1].position, 300);
}

pub(crate) async fn the_dead_log_keeps_the_newest<K: Kind<Port: Queue>>() {
    let kind = K::fresh(narrow(10, 20)).await;
    for id in 0..100 {
        kind.port().append(messages(DEAD, [id])).await.unwrap();
    }
    let kept = kind.port().read(DEAD, 0, 1000).await.unwrap();
    assert!((20..=22).contains(&kept.len()), "{}", kept.len());
    assert_eq!(ids(&kept)[kept.len() - 1], "99");
    let counts = kind.port().counts(DEAD).await.unwrap();
    assert_eq!((counts.appended, counts.acknowledged), (100, 0));
}

pub(crate) async fn a_slow_consumer_of_a_dropping_log_skips<K: Kind<Port: Queue>>() {
    let kind = K::fresh(narrow(10, 20)).await;
    let mut consumer = kind.port().consume(DEAD).await.unwrap();
    for id in 0..100 {
        kind.port().append(messages(DEAD, [id])).await.unwrap();
    }
    let mut found = Vec::new();
    while found.last().is_none_or(|one: &Delivery| one.position < 100) {
        found.extend(consumer.pull(7).await.unwrap());
    }
    assert!((20..=22).contains(&found.len()), "{}", found.len());
    assert_eq!(found[found.len() - 1].id, "99");
}

pub(crate) async fn concurrent_appends_all_arrive_once<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    let tasks: Vec<_> = (0..8_u32)
        .map(|task| {
            let queue = kind.port().clone();
            tokio::spawn(async move {
                for id in 0..50 {
                    queue.append(messages(LOG, [task * 1000 + id])).await.unwrap();
                }
            })
        })
        .collect();
    let mut consumer = kind.port().consume(LOG).await.unwrap();
    let found = pull(&mut consumer, 400).await;
    for task in tasks {
        task.await.unwrap();
    }
    for task in 0..8_u32 {
        let numbers = found.iter().map(|one| one.id.parse::<u32>().unwrap());
        let mine: Vec<_> = numbers.filter(|id| id / 1000 == task).collect();
        assert_eq!(mine, (task * 1000..task * 1000 + 50).collect::<Vec<_>>());
    }
    assert_drained(kind.port(), &mut consumer, LOG).await;
}

pub(crate) async fn an_empty_append_is_fine<K: Kind<Port: Queue>>() {
    let kind = K::fresh(wide()).await;
    kind.port().append(Vec::new()).await.unwrap();
}
