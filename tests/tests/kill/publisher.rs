//! A device that publishes without end, and again what was not acknowledged.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use gnomon_tests::packet::{self, Connect, Incoming, Publish, Sent, Session, Version};
use gnomon_tests::wire::Client;

use crate::meeting::Meeting;

/// Messages under way at a time.
const WINDOW: usize = 8;
/// How long an acknowledgement may take.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);
/// How long to wait for one before looking whether the server still has it to give.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Name of a device.
pub(crate) fn name(index: usize) -> String {
    format!("dev-{index}")
}

/// Temperature of the `number`-th message, from 0: even ones raise the alert, odd ones clear it.
pub(crate) fn temperature(number: u64) -> f64 {
    let degrees = if number.is_multiple_of(2) { 9 } else { 5 };
    // One division, so that it is the very number that its six decimals are read as.
    (degrees * 1_000_000 + number) as f64 / 1e6
}

/// One device.
#[derive(Debug)]
pub(crate) struct Publisher {
    index: usize,
    name: String,
    version: Version,
    /// Number of the next message.
    next: u64,
    /// Numbers of the messages that were sent and not acknowledged, in order.
    under_way: VecDeque<u64>,
    out: Vec<u8>,
}

impl Publisher {
    /// A device that has sent nothing, of this version.
    pub(crate) fn speaking(index: usize, version: Version) -> Self {
        let (under_way, out) = (VecDeque::new(), Vec::new());
        Self { index, name: name(index), version, next: 0, under_way, out }
    }

    /// Publishes through all lives of the servers, of which each device prefers one; yields how many messages it sent, each of which
    /// was acknowledged.
    pub(crate) fn run(mut self, meeting: &Meeting) -> u64 {
        let mut left = 0;
        loop {
            let (server, life) = meeting.server_after(left, self.index);
            match self.connect(server).and_then(|client| self.publish(client, life, meeting)) {
                Ok(()) => return self.next,
                Err(error) => left = meeting.excuse(life, &error),
            }
        }
    }

    /// Connects, and sends again what was not acknowledged, in order.
    fn connect(&mut self, server: std::net::SocketAddr) -> io::Result<Client> {
        let user = format!("coldroom/{}", self.name);
        let (version, session) = (self.version, Session::Kept);
        let connect = Connect { version, client: &self.name, user: Some(&user), session };
        let (mut client, _) = Client::connect(server, connect)?;
        for number in self.under_way.clone() {
            self.encode(number, Sent::Again);
        }
        client.send(&std::mem::take(&mut self.out))?;
        Ok(client)
    }

    fn encode(&mut self, number: u64, sent: Sent) {
        let topic = format!("devices/coldroom/{}/telemetry", self.name);
        let payload = format!(r#"{{"temperature":{:.6},"door":true}}"#, temperature(number));
        let (version, packet, payload) = (self.version, packet_id(number), payload.as_bytes());
        packet::publish(&mut self.out, Publish { version, topic: &topic, packet, sent, payload });
    }

    /// Publishes until the connection ends, or it is time to finish and all is acknowledged.
    fn publish(&mut self, mut client: Client, life: u32, meeting: &Meeting) -> io::Result<()> {
        let mut heard = Instant::now();
        loop {
            while self.under_way.len() < WINDOW && !meeting.is_finishing() {
                self.encode(self.next, Sent::First);
                self.under_way.push_back(self.next);
                self.next += 1;
            }
            // The messages count as sent even when this fails: they are sent again.
            client.send(&std::mem::take(&mut self.out))?;
            let Some(first) = self.under_way.front() else { return Ok(()) };
            match client.next(LOOK_EVERY) {
                Ok(Incoming::Acknowledged { packet, reason }) => {
                    assert!(reason < 0x80, "{}: refused with {reason:#x}", self.name);
                    assert_eq!(packet, packet_id(*first), "{}: out of order", self.name);
                    self.under_way.pop_front();
                    heard = Instant::now();
                    meeting.note_event();
                }
                Ok(other) => panic!("{}: unexpected: {other:?}", self.name),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    if !meeting.is_open(life) || heard.elapsed() > ACKNOWLEDGED_WITHIN {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn packet_id(number: u64) -> u16 {
    (number % u64::from(u16::MAX)) as u16 + 1
}
