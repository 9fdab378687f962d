//! One MQTT 3.1.1 client that publishes at QoS 1 with a persistent session: what is not
//! acknowledged is sent again after a reconnect, as the same packet with DUP set.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{Event, role};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, v3_1_1};
use mqtt_protocol_core::mqtt::result_code::ConnectReturnCode;
use mqtt_protocol_core::mqtt::{Connection, Version};

use gnomon_run::Failure;

/// Most messages sent and not acknowledged.
const WINDOW: usize = 64;
/// How long the server may be away before this gives up.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// Pause between attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// No keep-alive: pauses of a replay may be of any length.
const KEEP_ALIVE_S: u16 = 0;

/// One message that is not acknowledged yet.
struct Unacknowledged {
    packet_id: u16,
    topic: String,
    payload: Vec<u8>,
}

/// Publishes at QoS 1, in order, each exactly until it is acknowledged.
pub(crate) struct Publisher {
    address: String,
    client_id: String,
    user_name: String,
    stream: Option<TcpStream>,
    protocol: Connection<role::Client>,
    waiting: VecDeque<Unacknowledged>,
    /// None until the server has accepted this connection; then whether it knew the session.
    session_present: Option<bool>,
    /// Messages acknowledged so far.
    pub acknowledged: u64,
    /// Times the connection was made.
    pub connects: u64,
}

impl Publisher {
    /// Connects.
    pub(crate) fn connect(address: &str, client: &str, user: &str) -> Result<Self, Failure> {
        let mut publisher = Self {
            address: address.to_owned(),
            client_id: client.to_owned(),
            user_name: user.to_owned(),
            stream: None,
            protocol: Connection::new(Version::V3_1_1),
            waiting: VecDeque::new(),
            session_present: None,
            acknowledged: 0,
            connects: 0,
        };
        publisher.open().map_err(|error| {
            Failure::new(format!("connect to {address}: {error}; is `gnomon run` running?"))
        })?;
        Ok(publisher)
    }

    /// Sends a message, waiting while too many are unacknowledged.
    pub(crate) fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), Failure> {
        while self.waiting.len() >= WINDOW {
            self.read_for(Duration::from_secs(1))?;
        }
        let packet_id = self
            .protocol
            .acquire_packet_id()
            .map_err(|error| Failure::new(format!("publish: no packet id is free: {error:?}")))?;
        self.waiting.push_back(Unacknowledged { packet_id, topic: topic.to_owned(), payload });
        self.send_at(self.waiting.len() - 1).or_else(|_| self.reopen())
    }

    /// Reads acknowledgements until `time` has passed or none is awaited.
    pub(crate) fn read_for(&mut self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        while !self.waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match self.read(left) {
                Ok(0) => self.reopen()?,
                Ok(_) => return Ok(()),
                Err(error) if is_timeout(&error) => break,
                Err(_) => self.reopen()?,
            }
        }
        Ok(())
    }

    /// Waits until everything is acknowledged, then disconnects.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        while !self.waiting.is_empty() {
            self.read_for(Duration::from_secs(1))?;
        }
        let disconnect = v3_1_1::Disconnect::builder().build();
        if let Ok(disconnect) = disconnect {
            let events = self.protocol.send(disconnect.into());
            let _ = self.act(events);
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        self.session_present = None;
        let connect = v3_1_1::Connect::builder()
            .client_id(&self.client_id)
            .and_then(|connect| connect.user_name(&self.user_name))
            .and_then(|connect| connect.clean_session(false).keep_alive(KEEP_ALIVE_S).build())
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        let events = self.protocol.send(connect.into());
        self.act(events)?;
        while self.session_present.is_none() {
            if self.read(AWAY_MAX)? == 0 {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        self.connects += 1;
        if self.session_present == Some(false) {
            self.send_anew()?;
        }
        Ok(())
    }

    /// A server that has forgotten the session does not expect the old packets: what waits is
    /// published anew, in the same order.
    fn send_anew(&mut self) -> io::Result<()> {
        for at in 0..self.waiting.len() {
            let packet_id = self
                .protocol
                .acquire_packet_id()
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
            self.waiting[at].packet_id = packet_id;
            self.send_at(at)?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + AWAY_MAX;
        loop {
            self.stream = None;
            self.protocol.notify_closed();
            match self.open() {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > until => {
                    return Err(Failure::new(format!(
                        "connect again to {}: {error}",
                        self.address
                    )));
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn send_at(&mut self, at: usize) -> io::Result<()> {
        let message = &self.waiting[at];
        let publish = v3_1_1::Publish::builder()
            .topic_name(&message.topic)
            .and_then(|publish| {
                publish
                    .qos(Qos::AtLeastOnce)
                    .packet_id(message.packet_id)
                    .payload(message.payload.clone())
                    .build()
            })
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        let events = self.protocol.send(publish.into());
        self.act(events)
    }

    /// Reads once; returns how many bytes came, 0 at the end of the stream.
    fn read(&mut self, time: Duration) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.set_read_timeout(Some(time))?;
        let count = stream.read(&mut buffer)?;
        let mut cursor = Cursor::new(&buffer[..count]);
        while (cursor.position() as usize) < count {
            let events = self.protocol.recv(&mut cursor);
            self.act(events)?;
        }
        Ok(count)
    }

    fn act(&mut self, events: Vec<Event>) -> io::Result<()> {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
                    stream.write_all(&packet.to_continuous_buffer())?;
                }
                Event::NotifyPacketReceived(Packet::V3_1_1Connack(connack)) => {
                    self.accept(&connack)?;
                }
                Event::NotifyPacketReceived(Packet::V3_1_1Puback(puback)) => {
                    let acknowledged = puback.packet_id();
                    self.waiting.retain(|message| message.packet_id != acknowledged);
                    self.acknowledged += 1;
                }
                Event::NotifyError(error) => return Err(io::Error::other(format!("{error:?}"))),
                Event::RequestClose => return Err(io::ErrorKind::ConnectionAborted.into()),
                Event::NotifyPacketReceived(_)
                | Event::NotifyPacketIdReleased(_)
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_) => {}
            }
        }
        Ok(())
    }

    fn accept(&mut self, connack: &v3_1_1::Connack) -> io::Result<()> {
        let code = connack.return_code();
        if code != ConnectReturnCode::Accepted {
            return Err(io::Error::other(format!("the server refuses: {code:?}")));
        }
        self.session_present = Some(connack.session_present());
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
