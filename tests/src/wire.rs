//! A blocking MQTT client on a bare socket, for tests that must say exactly what is sent when.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::packet::{self, Connect, Incoming, Version};

/// How long a connection attempt, or the answer to CONNECT and SUBSCRIBE, may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Return code of MQTT 3.1.1: the server cannot serve this client now.
const UNAVAILABLE: u8 = 3;
/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 16 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    version: Version,
    inbox: Vec<u8>,
    /// Bytes of the inbox that were handed out.
    taken: usize,
}

impl Client {
    /// Connects, and waits for the answer; yields whether the server had a session of this client.
    ///
    /// # Errors
    /// There is no server, it refuses, or it ends while answering; `ResourceBusy` if a client of MQTT
    /// 3.1.1 is to try again.
    pub fn connect(server: SocketAddr, connect: Connect<'_>) -> io::Result<(Self, bool)> {
        let stream = TcpStream::connect_timeout(&server, ANSWER_WITHIN)?;
        stream.set_nodelay(true)?;
        let (version, inbox) = (connect.version, Vec::with_capacity(READ_BYTES));
        let mut client = Self { stream, version, inbox, taken: 0 };
        let mut out = Vec::new();
        packet::connect(&mut out, connect);
        client.send(&out)?;
        match client.next(ANSWER_WITHIN)? {
            Incoming::Connected { code: 0, session_present, .. } => Ok((client, session_present)),
            Incoming::Connected { code: UNAVAILABLE, .. } => {
                Err(io::ErrorKind::ResourceBusy.into())
            }
            other => Err(refused(&other)),
        }
    }

    /// Subscribes to a filter at QoS 1, and waits for the answer.
    ///
    /// # Errors
    /// The server refuses, or ends; or it sends something else first.
    pub fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        let mut out = Vec::new();
        packet::subscribe(&mut out, self.version, 1, filter);
        self.send(&out)?;
        match self.next(ANSWER_WITHIN)? {
            Incoming::Subscribed { reason } if reason < 0x80 => Ok(()),
            other => Err(refused(&other)),
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Another handle of the same connection, to be ended from elsewhere.
    ///
    /// # Errors
    /// The operating system has no more handles.
    pub fn socket(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Whether a whole packet is here already, so that [`Client::next`] would not wait.
    #[must_use]
    pub fn has_next(&self) -> bool {
        packet::decode(self.version, &self.inbox[self.taken..]).is_some()
    }

    /// Waits for the next packet.
    ///
    /// # Errors
    /// `TimedOut` when none came `within` that time, `UnexpectedEof` when the server ended the
    /// connection; others of the socket.
    pub fn next(&mut self, within: Duration) -> io::Result<Incoming<'_>> {
        let deadline = Instant::now() + within;
        while !self.has_next() {
            self.fill(deadline)?;
        }
        let from = self.taken;
        let (incoming, used) =
            packet::decode(self.version, &self.inbox[from..]).expect("a whole packet is here");
        self.taken = from + used;
        Ok(incoming)
    }

    fn fill(&mut self, deadline: Instant) -> io::Result<()> {
        self.inbox.drain(..self.taken);
        self.taken = 0;
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        self.stream.set_read_timeout(Some(rest))?;
        let start = self.inbox.len();
        self.inbox.resize(start + READ_BYTES, 0);
        let read = self.stream.read(&mut self.inbox[start..]);
        self.inbox.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(_) => Ok(()),
            // What a time-out is called depends on the platform; the loop asks the deadline.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn refused(answer: &Incoming<'_>) -> io::Error {
    io::Error::other(format!("the server answered {answer:?}"))
}
