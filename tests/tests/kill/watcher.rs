//! The subscriber of all alerts, with a persistent session.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gnomon_tests::packet::{self, Connect, Incoming, Session, Version};
use gnomon_tests::wire::Client;
use serde_json::Value;

use crate::meeting::Meeting;
use crate::publisher;

const FILTER: &str = "devices/coldroom/+/alerts";
/// How long to wait for an alert before looking whether there is still anything to wait for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An alert as it came.
#[derive(Debug)]
struct Alert {
    device: String,
    number: u64,
    body: Value,
    /// The life of the server in which it came.
    life: u32,
}

/// The subscriber, in its own thread.
#[derive(Debug)]
pub(crate) struct Watcher {
    thread: JoinHandle<()>,
    alerts: Receiver<Alert>,
    stop: Sender<()>,
}

impl Watcher {
    /// Starts to follow the alerts through all lives of the servers, of which it prefers one; returns
    /// when it has subscribed.
    pub(crate) fn start(meeting: Arc<Meeting>, preferred: usize) -> Self {
        let (found, alerts) = channel();
        let (stop, stopped) = channel();
        let (subscribed, ready) = channel();
        let thread = thread::spawn(move || {
            follow(&meeting, preferred, &found, &stopped, subscribed);
        });
        ready.recv().expect("the watcher subscribes");
        Self { thread, alerts, stop }
    }

    /// Waits until every message of every device has caused its alert.
    pub(crate) fn join(self, sent: &[u64], within: Duration) -> Seen {
        let deadline = Instant::now() + within;
        let mut seen = Seen::default();
        let expected: u64 = sent.iter().sum();
        while seen.first.len() as u64 != expected {
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.alerts.recv_timeout(rest) {
                Ok(alert) => seen.note(alert),
                Err(_) => {
                    panic!("{} of {expected} alerts came: {:?}", seen.first.len(), seen.counts())
                }
            }
        }
        // The thread may be gone already, if it has panicked; joining it tells.
        let _ = self.stop.send(());
        self.thread.join().expect("the watcher is content");
        self.alerts.try_iter().for_each(|alert| seen.note(alert));
        seen
    }
}

fn follow(
    meeting: &Meeting,
    preferred: usize,
    found: &Sender<Alert>,
    stopped: &Receiver<()>,
    subscribed: Sender<()>,
) {
    let name = format!("watcher-{preferred}");
    let (mut left, mut is_first, mut subscribed) = (0, true, Some(subscribed));
    loop {
        let (server, life) = meeting.server_after(left, preferred);
        let connected = connect(server, &name, is_first).inspect(|_| {
            is_first = false;
            // Nobody waits for it a second time.
            let _ = subscribed.take().map(|one| one.send(()));
        });
        match connected.and_then(|client| take(client, life, meeting, found, stopped)) {
            Ok(()) => return,
            Err(error) => left = meeting.excuse(life, &error),
        }
    }
}

fn connect(server: std::net::SocketAddr, client: &str, is_first: bool) -> io::Result<Client> {
    let (version, session) = (Version::V311, Session::Kept);
    let connect = Connect { version, client, user: None, session };
    let (mut client, session_present) = Client::connect(server, connect)?;
    if is_first {
        client.subscribe(FILTER)?;
    } else {
        assert!(session_present, "the persistent session was lost");
    }
    Ok(client)
}

/// Takes and acknowledges alerts until the connection ends, or somebody says stop.
fn take(
    mut client: Client,
    life: u32,
    meeting: &Meeting,
    found: &Sender<Alert>,
    stopped: &Receiver<()>,
) -> io::Result<()> {
    while stopped.try_recv().is_err() {
        let (alert, packet) = match client.next(LOOK_EVERY) {
            Ok(Incoming::Published { topic, packet, payload }) => {
                (parse(topic, payload, life), packet)
            }
            Ok(other) => panic!("the watcher gets {other:?}"),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && meeting.is_open(life) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut out = Vec::new();
        packet::acknowledge(&mut out, packet.expect("alerts come at QoS 1"));
        // Noted before it is acknowledged: what is acknowledged does not come again.
        let told = found.send(alert);
        assert!(told.is_ok(), "the test has ended early");
        meeting.note_event();
        client.send(&out)?;
    }
    Ok(())
}

fn parse(topic: &str, payload: &[u8], life: u32) -> Alert {
    let body: Value = serde_json::from_slice(payload).expect("an alert is JSON");
    let device = topic.split('/').nth(2).expect("the topic has a device").to_owned();
    assert_eq!(body["device"], device.as_str());
    let temperature = body["values"]["temperature"].as_f64().expect("values hold what was read");
    let number = (temperature.fract() * 1e6).round() as u64;
    Alert { device, number, body, life }
}

/// The alerts that came.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By device and number of the message: the alert as it came first.
    first: HashMap<(String, u64), Alert>,
    /// Life in which each came last.
    last_life: HashMap<(String, u64), u32>,
    /// Numbers of the messages of each device, in the order in which their alerts came first.
    order: HashMap<String, Vec<u64>>,
    /// Alerts that came again after a kill: their acknowledgement was not on disk.
    pub(crate) again: u64,
}

impl Seen {
    fn note(&mut self, alert: Alert) {
        let key = (alert.device.clone(), alert.number);
        if let Some(first) = self.first.get(&key) {
            assert_eq!(alert.body, first.body, "an alert came again, and differs");
            let last = self.last_life.insert(key, alert.life);
            assert_ne!(
                last,
                Some(alert.life),
                "an alert came twice without a kill: {}",
                alert.body
            );
            self.again += 1;
            return;
        }
        self.last_life.insert(key.clone(), alert.life);
        self.order.entry(alert.device.clone()).or_default().push(alert.number);
        self.first.insert(key, alert);
    }

    fn counts(&self) -> Vec<(&String, usize)> {
        self.order.iter().map(|(device, numbers)| (device, numbers.len())).collect()
    }

    /// Every message has caused one alert, in order, of the right status, and the two alerts of a
    /// pair have the same id that no other pair has.
    pub(crate) fn assert_complete(&self, index: usize, sent: u64) {
        let device = publisher::name(index);
        let order = self.order.get(&device).map_or(&[][..], Vec::as_slice);
        assert_eq!(order, (0..sent).collect::<Vec<_>>(), "alerts of {device}, in order");
        let mut pair_of_id = HashMap::new();
        for number in order {
            let alert = &self.first[&(device.clone(), *number)].body;
            let status = if number.is_multiple_of(2) { "active" } else { "cleared" };
            assert_eq!(alert["status"], status, "{alert}");
            assert_eq!(alert["values"]["temperature"], publisher::temperature(*number), "{alert}");
            let id = alert["id"].as_str().expect("an alert has an id");
            let pair = *pair_of_id.entry(id).or_insert(number / 2);
            assert_eq!(pair, number / 2, "one id for two occurrences: {alert}");
        }
        assert_eq!(pair_of_id.len() as u64, sent.div_ceil(2), "ids of {device}");
    }
}

/// The check finds what it is for.
mod controls {
    use std::panic::catch_unwind;

    use serde_json::json;

    use super::*;

    const SENT: u64 = 10;

    fn alert(number: u64, life: u32) -> Alert {
        let status = if number.is_multiple_of(2) { "active" } else { "cleared" };
        let values = json!({ "temperature": publisher::temperature(number) });
        let id = format!("occurrence-{}", number / 2);
        let body = json!({ "id": id, "status": status, "values": values });
        Alert { device: publisher::name(0), number, body, life }
    }

    /// Whether these alerts are what they should be.
    fn passes(alerts: Vec<Alert>) -> bool {
        let check = || {
            let mut seen = Seen::default();
            alerts.into_iter().for_each(|alert| seen.note(alert));
            seen.assert_complete(0, SENT);
        };
        catch_unwind(std::panic::AssertUnwindSafe(check)).is_ok()
    }

    fn all() -> Vec<Alert> {
        (0..SENT).map(|number| alert(number, 1)).collect()
    }

    #[test]
    fn alerts_as_they_should_be_pass_and_may_come_again_in_another_life() {
        assert!(passes(all()));
        assert!(passes(all().into_iter().chain([alert(9, 2)]).collect()));
    }

    #[test]
    fn a_lost_a_doubled_and_a_swapped_message_are_seen_in_alerts() {
        let (mut lost, mut doubled, mut swapped) = (all(), all(), all());
        lost.remove(4);
        doubled.push(alert(4, 1));
        swapped.swap(4, 5);
        assert!(!passes(lost), "lost");
        assert!(!passes(doubled), "doubled");
        assert!(!passes(swapped), "swapped");
    }

    #[test]
    fn another_id_and_another_text_under_the_same_number_are_seen() {
        let (mut other_id, mut changed) = (all(), all());
        other_id[5].body["id"] = json!("occurrence-x");
        changed.push(alert(4, 2));
        changed[SENT as usize].body["status"] = json!("cleared");
        assert!(!passes(other_id), "two ids for one occurrence");
        assert!(!passes(changed), "it came again, and differs");
    }
}
