//! One device: a connection, a window of unacknowledged messages, and a packet whose digits are
//! patched in place.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use gnomon_tests::packet::{self, Connect, Incoming, Publish, Sent, Session, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::board::Shared;

/// Decimals of a temperature that hold the number of the message.
pub(crate) const DECIMALS: usize = 6;
/// Messages of one device that these decimals can number.
const MESSAGES_MAX: u32 = 1_000_000;
/// Whole degrees of a message that raises, and of one that clears.
const DEGREES: (u8, u8) = (b'9', b'5');
/// What is around the temperature: with it, a payload of 90 bytes.
const PAYLOAD: (&str, &str) =
    (r#"{"temperature":"#, r#","humidity":55.25,"door":false,"compressor":1,"label":"room 17"}"#);
/// Bytes asked of a socket at a time: some hundred acknowledgements.
const READ_BYTES: usize = 2048;

/// What all devices have in common.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) server: SocketAddr,
    pub(crate) version: Version,
    pub(crate) product: String,
    /// Whether a device names itself.
    pub(crate) named: bool,
    /// How many devices cause alerts: those with the lowest numbers.
    pub(crate) alerting: u32,
    /// Messages that may be unacknowledged.
    pub(crate) window: u16,
    /// Whether messages have their time; else the window is kept full.
    pub(crate) paced: bool,
}

/// A device that is connected, and the half of its connection from which it is answered.
pub(crate) type Opened = (Rc<Device>, OwnedReadHalf);

/// One device.
#[derive(Debug)]
pub(crate) struct Device {
    plan: Rc<Plan>,
    index: u32,
    writer: OwnedWriteHalf,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    template: Template,
    /// Number of the next message.
    number: u32,
    in_flight: u16,
    window: u16,
    /// Messages whose time has come while the window was full.
    owed: u32,
    /// Bytes that the socket has not taken.
    out: Vec<u8>,
}

/// An encoded PUBLISH and where its variable parts are.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    packet_at: usize,
    degrees_at: usize,
}

impl Template {
    fn new(version: Version, topic: &str) -> Self {
        let payload = format!("{}0.{}{}", PAYLOAD.0, "0".repeat(DECIMALS), PAYLOAD.1);
        let mut bytes = Vec::new();
        let (sent, packet) = (Sent::First, 1);
        let payload = payload.as_bytes();
        packet::publish(&mut bytes, Publish { version, topic, packet, sent, payload });
        let payload_at = bytes.len() - payload.len();
        let properties = usize::from(version == Version::V5);
        let degrees_at = payload_at + PAYLOAD.0.len();
        Self { bytes, packet_at: payload_at - properties - 2, degrees_at }
    }

    fn number(&mut self, number: u32, degrees: u8) {
        let packet = (number % u32::from(u16::MAX) + 1) as u16;
        self.bytes[self.packet_at..self.packet_at + 2].copy_from_slice(&packet.to_be_bytes());
        self.bytes[self.degrees_at] = degrees;
        let mut rest = number;
        for at in (self.degrees_at + 2..self.degrees_at + 2 + DECIMALS).rev() {
            self.bytes[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}

impl Device {
    /// Connects.
    pub(crate) async fn open(plan: Rc<Plan>, index: u32) -> io::Result<Opened> {
        let name = format!("dev-{index}");
        let user = format!("{}/{name}", plan.product);
        let client = format!("load-{index}");
        let user = plan.named.then_some(user.as_str());
        let (stream, in_flight_max) = connect(&plan, &client, user).await?;
        let topic = ["devices", &plan.product, &name, "telemetry"].join("/");
        let template = Template::new(plan.version, &topic);
        let window = plan.window.min(in_flight_max);
        let out = Vec::with_capacity(template.bytes.len() * usize::from(window));
        let state = RefCell::new(State { template, number: 0, in_flight: 0, window, owed: 0, out });
        let (reader, writer) = stream.into_split();
        Ok((Rc::new(Self { plan, index, writer, state }), reader))
    }

    fn is_alerting(&self) -> bool {
        self.index < self.plan.alerting
    }

    /// Sends a message, or owes it when the window is full.
    pub(crate) fn offer(&self, board: &Shared) {
        let mut state = self.state.borrow_mut();
        if state.owed == 0 && state.in_flight < state.window {
            self.send(&mut state, 1, board);
        } else {
            state.owed += 1;
            board.borrow_mut().held_back += 1;
        }
    }

    /// Sends as many messages as the window allows.
    pub(crate) fn fill_window(&self, board: &Shared) {
        let mut state = self.state.borrow_mut();
        let count = state.window - state.in_flight;
        self.send(&mut state, count, board);
    }

    fn pay_debts(&self, board: &Shared) {
        let mut state = self.state.borrow_mut();
        let free = u32::from(state.window - state.in_flight);
        let count = state.owed.min(free) as u16;
        state.owed -= u32::from(count);
        self.send(&mut state, count, board);
    }

    fn send(&self, state: &mut State, count: u16, board: &Shared) {
        for _ in 0..count {
            assert!(state.number < MESSAGES_MAX, "a device can number {MESSAGES_MAX} messages");
            let is_hot = self.is_alerting() && state.number.is_multiple_of(2);
            state.template.number(state.number, if is_hot { DEGREES.0 } else { DEGREES.1 });
            state.out.extend_from_slice(&state.template.bytes);
            state.number += 1;
        }
        state.in_flight += count;
        if self.is_alerting() {
            board.borrow_mut().note_alerting(self.index as usize, count);
        } else {
            board.borrow_mut().note_quiet(count);
        }
        self.flush(state);
    }

    /// Writes what the socket takes. A rest waits for the next acknowledgement: it is there only
    /// when messages before it are unacknowledged.
    fn flush(&self, state: &mut State) {
        if state.out.is_empty() {
            return;
        }
        match self.writer.try_write(&state.out) {
            Ok(written) => drop(state.out.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The connection has ended, which the reading half sees and notes.
            Err(_) => state.out.clear(),
        }
    }

    /// Reads answers until the connection ends, and sends what they make room for.
    pub(crate) async fn attend(self: Rc<Self>, mut answers: OwnedReadHalf, board: Shared) {
        let mut inbox = Vec::new();
        let mut chunk = [0; READ_BYTES];
        loop {
            let end = match answers.read(&mut chunk).await {
                Ok(0) => Err("the server closed the connection".to_owned()),
                Ok(read) => {
                    inbox.extend_from_slice(&chunk[..read]);
                    self.take(&mut inbox, &board)
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = end {
                return board.borrow_mut().note_loss(reason);
            }
            if self.plan.paced {
                self.pay_debts(&board);
            } else if board.borrow().is_sending() {
                self.fill_window(&board);
            }
        }
    }

    fn take(&self, inbox: &mut Vec<u8>, board: &Shared) -> Result<(), String> {
        let mut from = 0;
        while let Some((incoming, used)) = packet::decode(self.plan.version, &inbox[from..]) {
            from += used;
            match incoming {
                Incoming::Acknowledged { reason, .. } => {
                    let mut state = self.state.borrow_mut();
                    state.in_flight = state.in_flight.checked_sub(1).ok_or("too many answers")?;
                    board.borrow_mut().note_answer(reason);
                }
                other => return Err(format!("unexpected: {other:?}")),
            }
        }
        inbox.drain(..from);
        Ok(())
    }
}

/// Opens a connection; yields how many messages may be unacknowledged on it.
pub(crate) async fn connect(
    plan: &Plan,
    client: &str,
    user: Option<&str>,
) -> io::Result<(TcpStream, u16)> {
    let mut stream = TcpStream::connect(plan.server).await?;
    stream.set_nodelay(true)?;
    let mut out = Vec::new();
    let (version, session) = (plan.version, Session::Clean);
    packet::connect(&mut out, Connect { version, client, user, session });
    stream.write_all(&out).await?;
    let mut inbox = Vec::new();
    loop {
        if stream.read_buf(&mut inbox).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        match packet::decode(version, &inbox) {
            None => {}
            Some((Incoming::Connected { code: 0, in_flight_max, .. }, _)) => {
                return Ok((stream, in_flight_max));
            }
            Some((other, _)) => return Err(io::Error::other(format!("refused: {other:?}"))),
        }
    }
}
