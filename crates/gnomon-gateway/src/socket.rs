//! One connection's shell: socket, timers and queue around [`Link`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gnomon_host::port::{Message, Queue, QueueError, Sessions};
use gnomon_host::watch::now_ms;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::link::Link;
use crate::peers::Peers;
use crate::publish::{After, Batch};
use crate::request::Goodbye;
use crate::session::Keep;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// How long a write may take before the client is given up: a slow reader must not hold memory.
const WRITE_MAX: Duration = Duration::from_secs(20);
/// First and longest pause before a batch of an MQTT 3.1.1 client is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How long the last words of a connection (will, presence) are tried.
const LAST_WORDS_MAX: Duration = Duration::from_secs(5);

type Append = Pin<Box<dyn Future<Output = Result<(), QueueError>> + Send>>;
type Fetch = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Serves one connection to its end.
pub(crate) async fn serve<Q: Queue, S: Sessions>(
    stream: TcpStream,
    link: Link,
    peers: Arc<Peers<Q, S>>,
    stop: CancellationToken,
) {
    metrics::gauge!("gnomon_mqtt_connections").increment(1.0);
    let _ = stream.set_nodelay(true);
    let heard = Instant::now();
    let mut socket =
        Socket { stream, link, peers, append: None, fetch: None, pause: RETRY.0, heard };
    let reason = socket.run(&stop).await;
    debug!(reason, "connection ended");
    socket.end(reason).await;
    metrics::gauge!("gnomon_mqtt_connections").decrement(1.0);
}

struct Socket<Q, S> {
    stream: TcpStream,
    link: Link,
    peers: Arc<Peers<Q, S>>,
    /// The batch that is on its way to the queue.
    append: Option<(Batch, Append)>,
    /// The session of a client that arrives is being fetched.
    fetch: Option<Fetch>,
    pause: Duration,
    /// When the client was last heard.
    heard: Instant,
}

impl<Q: Queue, S: Sessions> Socket<Q, S> {
    /// Runs until the connection is over; returns why.
    async fn run(&mut self, stop: &CancellationToken) -> &'static str {
        let mut buffer = vec![0; READ_BYTES];
        let waker = self.link.waker.clone();
        loop {
            if let Err(reason) = self.flush().await {
                return reason;
            }
            if self.link.wire.ended {
                return self.why_ended();
            }
            let silence = self.link.silence_max_ms;
            let silent = async {
                match silence {
                    Some(ms) => {
                        tokio::time::sleep_until(self.heard + Duration::from_millis(ms)).await
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.finish().await;
                    self.link.wire.goodbye(Goodbye::ShuttingDown);
                    let _ = self.flush().await;
                    return "server stopped";
                }
                result = arrival(&mut self.append) => self.appended(&result),
                is_here = fetched(&mut self.fetch) => {
                    self.fetch = None;
                    self.arrived(is_here);
                }
                () = waker.notified() => {
                    if !self.link.deliver(now_ms()) {
                        let _ = self.flush().await;
                        return "taken over";
                    }
                }
                read = self.stream.read(&mut buffer), if self.link.may_read() => match read {
                    Ok(0) => return "connection closed",
                    Ok(count) => {
                        self.received(&buffer[..count]);
                        // Until CONNECT is whole, bytes do not buy time.
                        if self.link.is_connected() {
                            self.heard = Instant::now();
                        }
                    }
                    Err(_) => return "connection lost",
                },
                () = silent => {
                    if self.link.may_read() {
                        self.link.wire.goodbye(Goodbye::KeepAlive);
                        let _ = self.flush().await;
                        return "keep-alive timeout";
                    }
                    // It is we who do not read: the queue keeps the client waiting.
                    self.heard = Instant::now();
                }
            }
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        let now_ms = now_ms();
        self.link.receive(bytes, now_ms);
        if let Some(arriving) = &self.link.arriving {
            let (client, clean_start) = (arriving.id.clone(), arriving.connect.clean_start);
            let peers = self.peers.clone();
            self.fetch = Some(Box::pin(async move { peers.fetch(&client, clean_start).await }));
        }
        self.taken_in(now_ms);
    }

    /// The session of a client that arrives is here, or could not be had.
    fn arrived(&mut self, is_here: bool) {
        let now_ms = now_ms();
        self.heard = Instant::now();
        self.link.arrived(is_here, now_ms);
        self.taken_in(now_ms);
    }

    fn taken_in(&mut self, now_ms: i64) {
        // Acknowledgements open the window, and a session that is resumed has messages.
        if self.link.is_connected() {
            self.link.deliver(now_ms);
        }
        self.append_next();
    }

    /// Sends the next batch on its way, unless one is.
    fn append_next(&mut self) {
        if self.append.is_none() && !self.link.next.is_empty() {
            let batch = self.link.take_next();
            self.append(batch, Duration::ZERO);
        }
    }

    fn append(&mut self, batch: Batch, pause: Duration) {
        let (peers, messages) = (self.peers.clone(), batch.messages());
        let append = async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            if messages.is_empty() { Ok(()) } else { peers.append(messages).await }
        };
        self.append = Some((batch, Box::pin(append)));
    }

    fn appended(&mut self, result: &Result<(), QueueError>) {
        let Some((mut batch, _)) = self.append.take() else { return };
        let outcome = if result.is_ok() { "queued" } else { "failed" };
        let count = batch.entries.len() as u64;
        metrics::counter!("gnomon_mqtt_publishes_total", "result" => outcome).increment(count);
        let batch = match self.link.appended(&mut batch, result) {
            After::Next => {
                self.pause = RETRY.0;
                return self.append_next();
            }
            After::Again => batch,
            After::Pause => self.link.take_next(),
        };
        self.append(batch, self.pause);
        self.pause = (self.pause * 2).min(RETRY.1);
    }

    /// Makes durable what must be, then writes what waits.
    async fn flush(&mut self) -> Result<(), &'static str> {
        let keeps = std::mem::take(&mut self.link.keeps);
        if keeps.iter().any(Keep::is_promise) {
            self.peers.keeper.keep_durably(keeps).await;
        } else {
            self.peers.keeper.keep(keeps).await;
        }
        let bytes = self.link.wire.take_output();
        if bytes.is_empty() {
            return Ok(());
        }
        match tokio::time::timeout(WRITE_MAX, self.stream.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("connection lost"),
            Err(_) => Err("client does not read"),
        }
    }

    /// Lets the publishes that were read arrive, and acknowledges them.
    async fn finish(&mut self) {
        let deadline = Instant::now() + LAST_WORDS_MAX;
        while self.append.is_some() {
            match tokio::time::timeout_at(deadline, arrival(&mut self.append)).await {
                Ok(result) => self.appended(&result),
                Err(_) => return,
            }
        }
    }

    fn why_ended(&self) -> &'static str {
        if self.link.has_ended_in_order() { "disconnected" } else { "protocol error" }
    }

    /// Says the connection's last words: what was read is appended and acknowledged to nobody, will
    /// and presence are published, and the session is kept.
    async fn end(mut self, reason: &'static str) {
        self.link.leave();
        if self.append.is_some() {
            let arrived = tokio::time::timeout(LAST_WORDS_MAX, arrival(&mut self.append)).await;
            if let Ok(result) = arrived {
                self.appended(&result);
            }
        }
        let left = self.append.take();
        let mut messages = left.map(|(batch, _)| batch.messages()).unwrap_or_default();
        self.link.end(reason, now_ms());
        let keeps = std::mem::take(&mut self.link.keeps);
        self.peers.keeper.keep_durably(keeps).await;
        messages.extend(self.link.next.messages());
        if last_words(&self.peers, messages).await {
            self.link.last_words_arrived();
        }
    }
}

/// Appends what nobody will say again; whether the queue took it.
pub(crate) async fn last_words<Q: Queue, S: Sessions>(
    peers: &Peers<Q, S>,
    messages: Vec<Message>,
) -> bool {
    let deadline = Instant::now() + LAST_WORDS_MAX;
    while !messages.is_empty()
        && let Err(error) = peers.append(messages.clone()).await
    {
        if Instant::now() > deadline || matches!(error, QueueError::Closed) {
            tracing::warn!(error = %error, "last words of a connection are lost");
            return false;
        }
        tokio::time::sleep(RETRY.1).await;
    }
    true
}

async fn arrival(append: &mut Option<(Batch, Append)>) -> Result<(), QueueError> {
    match append {
        Some((_, append)) => append.await,
        None => std::future::pending().await,
    }
}

async fn fetched(fetch: &mut Option<Fetch>) -> bool {
    match fetch {
        Some(fetch) => fetch.await,
        None => std::future::pending().await,
    }
}
