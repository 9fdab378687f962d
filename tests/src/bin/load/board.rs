//! What has been sent, acknowledged and delivered.
//!
//! Invariants: one thread; a borrow never lasts over an await.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

/// The board, as all tasks of the one thread share it.
pub(crate) type Shared = Rc<RefCell<Board>>;

/// Marks a message whose alert has come.
const DELIVERED: u32 = u32::MAX;

/// The counts.
#[derive(Debug)]
pub(crate) struct Board {
    started: Instant,
    sending: bool,
    /// By device and number of the message: when it was sent, microseconds after the start;
    /// [`DELIVERED`] once its alert has come. Empty for devices that cause none.
    sent_at_us: Vec<Vec<u32>>,
    /// How long each alert took, microseconds.
    pub(crate) latencies_us: Vec<u32>,
    /// Messages written to a socket.
    pub(crate) sent: u64,
    /// Messages of these that must cause an alert.
    pub(crate) alerts_expected: u64,
    /// Messages acknowledged with success.
    pub(crate) acknowledged: u64,
    /// Messages acknowledged with a failure.
    pub(crate) refused: u64,
    /// Messages whose turn came while the connection's window was full; they went out later.
    pub(crate) held_back: u64,
    /// Alerts that had come before.
    pub(crate) duplicates: u64,
    /// Alerts that no message of ours caused.
    pub(crate) strangers: u64,
    /// Connections that ended, with the first reason.
    pub(crate) lost_connections: u64,
    /// Why the first of them ended.
    pub(crate) first_loss: Option<String>,
}

impl Board {
    /// A board of `devices` devices on which nothing has happened.
    pub(crate) fn shared(devices: usize) -> Shared {
        Rc::new(RefCell::new(Self {
            started: Instant::now(),
            sending: false,
            sent_at_us: vec![Vec::new(); devices],
            latencies_us: Vec::new(),
            sent: 0,
            alerts_expected: 0,
            acknowledged: 0,
            refused: 0,
            held_back: 0,
            duplicates: 0,
            strangers: 0,
            lost_connections: 0,
            first_loss: None,
        }))
    }

    /// Starts the clock.
    pub(crate) fn begin(&mut self) {
        self.started = Instant::now();
        self.sending = true;
    }

    /// From now on nothing is sent that is not owed.
    pub(crate) fn end(&mut self) {
        self.sending = false;
    }

    /// Whether devices without a pace go on sending.
    pub(crate) fn is_sending(&self) -> bool {
        self.sending
    }

    fn now_us(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_micros()).map_or(DELIVERED - 1, |us| us)
    }

    /// Notes `count` messages of a device that causes no alerts.
    pub(crate) fn note_quiet(&mut self, count: u16) {
        self.sent += u64::from(count);
    }

    /// Notes `count` messages of a device whose every message causes an alert.
    pub(crate) fn note_alerting(&mut self, device: usize, count: u16) {
        let now_us = self.now_us();
        self.sent_at_us[device].extend(std::iter::repeat_n(now_us, count.into()));
        self.sent += u64::from(count);
        self.alerts_expected += u64::from(count);
    }

    /// Notes the answer to a message.
    pub(crate) fn note_answer(&mut self, reason: u8) {
        if reason < 0x80 {
            self.acknowledged += 1;
        } else {
            self.refused += 1;
        }
    }

    /// Notes an alert caused by the `number`-th message of a device.
    pub(crate) fn note_alert(&mut self, device: usize, number: usize) {
        let now_us = self.now_us();
        match self.sent_at_us.get_mut(device).and_then(|sent| sent.get_mut(number)) {
            None => self.strangers += 1,
            Some(&mut DELIVERED) => self.duplicates += 1,
            Some(at_us) => {
                self.latencies_us.push(now_us.saturating_sub(*at_us));
                *at_us = DELIVERED;
            }
        }
    }

    /// Notes an alert that names no message.
    pub(crate) fn note_stranger(&mut self) {
        self.strangers += 1;
    }

    /// Notes that a connection has ended.
    pub(crate) fn note_loss(&mut self, reason: String) {
        self.lost_connections += 1;
        self.first_loss.get_or_insert(reason);
    }

    /// Alerts that have come, each counted once.
    pub(crate) fn delivered(&self) -> u64 {
        self.latencies_us.len() as u64
    }

    /// Everything that has arrived, to see whether anything still does.
    pub(crate) fn arrived(&self) -> u64 {
        self.acknowledged + self.refused + self.delivered() + self.duplicates
    }

    /// Whether everything is answered and delivered.
    pub(crate) fn is_settled(&self) -> bool {
        self.acknowledged + self.refused == self.sent && self.delivered() == self.alerts_expected
    }
}
