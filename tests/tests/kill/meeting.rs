//! Where clients learn that the server was killed on purpose and where it is now, and where the
//! killer learns that they get on.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a server may be away, and a client may wait for it.
const AWAY_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct State {
    /// None while the server is being killed and started.
    server: Option<SocketAddr>,
    /// Number of the server's life, from 1.
    life: u32,
    /// Acknowledgements and alerts so far.
    events: u64,
    /// Whether publishers shall stop when all they sent is acknowledged.
    finishing: bool,
}

/// Shared by all threads of the test.
#[derive(Debug)]
pub(crate) struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

impl Meeting {
    pub(crate) fn new(server: SocketAddr) -> Self {
        let state = State { server: Some(server), life: 1, events: 0, finishing: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the lock")
    }

    /// Waits until `ready` yields something.
    fn wait<T>(&self, within: Duration, ready: impl Fn(&State) -> Option<T>, what: &str) -> T {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        loop {
            if let Some(found) = ready(&state) {
                return found;
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                drop(state);
                panic!("{what} after {within:?}");
            }
            let waited = self.changed.wait_timeout(state, rest);
            state = waited.expect("no thread panics while it holds the lock").0;
        }
    }

    /// Tells that the server is about to be killed.
    pub(crate) fn close(&self) {
        self.lock().server = None;
    }

    /// Tells where the server is now.
    pub(crate) fn open(&self, server: SocketAddr) {
        let mut state = self.lock();
        state.server = Some(server);
        state.life += 1;
        self.changed.notify_all();
    }

    /// Tells publishers to stop when all they sent is acknowledged.
    pub(crate) fn finish(&self) {
        self.lock().finishing = true;
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.lock().finishing
    }

    /// Counts an acknowledgement or an alert.
    pub(crate) fn note_event(&self) {
        self.lock().events += 1;
        self.changed.notify_all();
    }

    /// Waits for that many more events.
    pub(crate) fn wait_for_events(&self, count: u64, within: Duration) {
        let wanted = self.lock().events + count;
        let ready = |state: &State| (state.events >= wanted).then_some(());
        self.wait(within, ready, "no progress: too few messages are acknowledged");
    }

    /// Waits for a life of the server after `life`; yields where it is, and which life it is.
    pub(crate) fn server_after(&self, life: u32) -> (SocketAddr, u32) {
        let ready = |state: &State| Some((state.server?, state.life)).filter(|(_, at)| *at > life);
        self.wait(AWAY_MAX, ready, "the server is not back")
    }

    /// A connection of that life has ended: that must be because the server was killed.
    pub(crate) fn excuse(&self, life: u32, error: &std::io::Error) {
        let (server, now) = {
            let state = self.lock();
            (state.server, state.life)
        };
        let lives = server.is_some() && now == life;
        assert!(!lives, "a connection ended although the server lives: {error}");
    }
}
