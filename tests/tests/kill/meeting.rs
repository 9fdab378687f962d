//! Where clients learn which servers were killed on purpose and where they are now, and where the
//! killer learns that they get on.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a server may be away, and a client may wait for it.
const AWAY_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct State {
    servers: Vec<Place>,
    /// Lives of servers so far.
    lives: u32,
    /// Acknowledgements and alerts so far.
    events: u64,
    /// Whether publishers shall stop when all they sent is acknowledged.
    finishing: bool,
}

/// One server.
#[derive(Debug)]
struct Place {
    /// None while the server is being killed and started.
    address: Option<SocketAddr>,
    /// Number of its life, from 1; no other life of any server has the same.
    life: u32,
}

impl State {
    fn open(&mut self, index: usize, address: SocketAddr) {
        self.lives += 1;
        self.servers[index] = Place { address: Some(address), life: self.lives };
    }

    /// Where a life other than `life` is to be found, at the server `preferred` if it is there.
    fn other_than(&self, life: u32, preferred: usize) -> Option<(SocketAddr, u32)> {
        let count = self.servers.len();
        (0..count).map(|step| &self.servers[(preferred + step) % count]).find_map(|place| {
            let address = place.address.filter(|_| place.life != life)?;
            Some((address, place.life))
        })
    }
}

/// Shared by all threads of the test.
#[derive(Debug)]
pub(crate) struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

impl Meeting {
    /// A meeting at servers, of which a client may use any.
    pub(crate) fn new(servers: &[SocketAddr]) -> Self {
        let nowhere = servers.iter().map(|_| Place { address: None, life: 0 }).collect();
        let mut state = State { servers: nowhere, lives: 0, events: 0, finishing: false };
        servers.iter().enumerate().for_each(|(index, address)| state.open(index, *address));
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

    /// Tells that a server is about to be killed.
    pub(crate) fn close(&self, index: usize) {
        self.lock().servers[index].address = None;
    }

    /// Tells where a server is now.
    pub(crate) fn open(&self, index: usize, address: SocketAddr) {
        self.lock().open(index, address);
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

    /// Waits for another life of a server than `life`, the server `preferred` before others; yields
    /// where it is, and which life it is.
    pub(crate) fn server_after(&self, life: u32, preferred: usize) -> (SocketAddr, u32) {
        let ready = |state: &State| state.other_than(life, preferred);
        self.wait(AWAY_MAX, ready, "no server is back")
    }

    /// Whether the server of that life is not being killed.
    pub(crate) fn is_open(&self, life: u32) -> bool {
        let state = self.lock();
        state.servers.iter().any(|place| place.life == life && place.address.is_some())
    }

    /// A connection of that life has ended: that must be because its server was killed, or because it
    /// asked the client to try again. The life that is not to be tried.
    pub(crate) fn excuse(&self, life: u32, error: &std::io::Error) -> u32 {
        if error.kind() == std::io::ErrorKind::ResourceBusy {
            return 0;
        }
        let lives = self.is_open(life);
        assert!(!lives, "a connection ended although the server lives: {error}");
        life
    }
}
