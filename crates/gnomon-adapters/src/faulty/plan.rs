//! What is to go wrong: a script, or odds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A call of one of the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`Queue::append`](gnomon_host::port::Queue::append).
    Append,
    /// [`Queue::consume`](gnomon_host::port::Queue::consume).
    Consume,
    /// [`Queue::read`](gnomon_host::port::Queue::read).
    Read,
    /// [`Queue::counts`](gnomon_host::port::Queue::counts).
    Counts,
    /// [`Queue::forget_dead`](gnomon_host::port::Queue::forget_dead).
    Forget,
    /// [`Consumer::pull`](gnomon_host::port::Consumer::pull).
    Pull,
    /// [`Consumer::acknowledge`](gnomon_host::port::Consumer::acknowledge).
    Acknowledge,
    /// [`Store::load`](gnomon_host::port::Store::load).
    Load,
    /// [`Store::commit`](gnomon_host::port::Store::commit).
    Commit,
    /// [`Store::list`](gnomon_host::port::Store::list).
    List,
    /// [`Store::due`](gnomon_host::port::Store::due).
    Due,
    /// [`Sessions::load_all`](gnomon_host::port::Sessions::load_all) and
    /// [`Sessions::find`](gnomon_host::port::Sessions::find).
    LoadAll,
    /// [`Sessions::change`](gnomon_host::port::Sessions::change).
    Change,
}

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Unavailable; nothing was done.
    Before,
    /// Unavailable, but it was done: the caller cannot know. For calls that only read, and for
    /// [`Operation::Pull`], the same as `Before`.
    After,
    /// Nothing is done before [`Plan::release`].
    Hold,
    /// [`Operation::Append`]: a bound is reached; nothing was done. Else the same as `Before`.
    Full,
    /// [`Operation::Commit`]: every write is a conflict; nothing was done. Else the same as
    /// `Before`.
    Conflict,
    /// [`Operation::Acknowledge`]: taken, but not done before the consumer's next acknowledgement;
    /// if the consumer is dropped before that, as in a crash, the messages are delivered again.
    /// Else no fault.
    Late,
}

/// How often each fault happens, in thousandths of the calls to which it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Odds {
    /// [`Fault::Before`], any call.
    pub before: u16,
    /// [`Fault::After`], calls that write.
    pub after: u16,
    /// [`Fault::Full`], appends.
    pub full: u16,
    /// [`Fault::Conflict`], commits.
    pub conflict: u16,
    /// [`Fault::Late`], acknowledgements.
    pub late: u16,
    /// Yields of the task before each call, from none up to this many.
    pub yields_max: u16,
}

/// What is to go wrong. Cheap to clone; clones share it, and so may several [`Faulty`].
#[derive(Clone, Default)]
pub struct Plan {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    released: Notify,
}

#[derive(Default)]
struct State {
    script: BTreeMap<Operation, VecDeque<Fault>>,
    dice: Option<(u64, Odds)>,
    calls: BTreeMap<Operation, u64>,
    injected: u64,
    releases: u64,
}

impl State {
    fn draw(&mut self, sides: u64) -> u64 {
        let Some((seed, _)) = &mut self.dice else { return 0 };
        // xorshift64*, Marsaglia and Vigna; never zero.
        *seed ^= *seed >> 12;
        *seed ^= *seed << 25;
        *seed ^= *seed >> 27;
        (seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn roll(&mut self, operation: Operation) -> Option<Fault> {
        let (_, odds) = self.dice?;
        let writes = matches!(
            operation,
            Operation::Append | Operation::Acknowledge | Operation::Commit | Operation::Change
        );
        let applicable = [
            (Fault::Before, odds.before, true),
            (Fault::After, odds.after, writes),
            (Fault::Full, odds.full, operation == Operation::Append),
            (Fault::Conflict, odds.conflict, operation == Operation::Commit),
            (Fault::Late, odds.late, operation == Operation::Acknowledge),
        ];
        let mut left = self.draw(1000);
        for (fault, odds, _) in applicable.into_iter().filter(|(.., applies)| *applies) {
            if left < u64::from(odds) {
                return Some(fault);
            }
            left -= u64::from(odds);
        }
        None
    }
}

impl Plan {
    /// Nothing goes wrong until the script says so.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Faults at random, the same for the same seed and the same order of calls.
    #[must_use]
    pub fn seeded(seed: u64, odds: Odds) -> Self {
        let plan = Self::default();
        // Spread, since small seeds begin alike; and zero is the one seed that xorshift cannot take.
        let seed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        plan.lock().dice = Some((seed, odds));
        plan
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next call of this kind that no earlier line of the script takes goes wrong like this.
    pub fn script(&self, operation: Operation, fault: Fault) {
        self.lock().script.entry(operation).or_default().push_back(fault);
    }

    /// Nothing goes wrong from now on; what is held is released.
    pub fn heal(&self) {
        {
            let mut state = self.lock();
            state.dice = None;
            state.script.clear();
        }
        self.release();
    }

    /// Lets go of all calls that are held now.
    pub fn release(&self) {
        self.lock().releases += 1;
        self.shared.released.notify_waiters();
    }

    /// Calls of this kind so far, failed ones too.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.lock().calls.get(&operation).copied().unwrap_or(0)
    }

    /// Faults so far.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.lock().injected
    }

    /// Decides about one call; waits if it is to be held.
    pub(super) async fn meet(&self, operation: Operation) -> Option<Fault> {
        let (fault, yields, releases) = self.decide(operation);
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        if fault == Some(Fault::Hold) {
            self.wait_for_release(releases).await;
            return None;
        }
        fault
    }

    fn decide(&self, operation: Operation) -> (Option<Fault>, u64, u64) {
        let mut state = self.lock();
        *state.calls.entry(operation).or_default() += 1;
        let scripted = state.script.get_mut(&operation).and_then(VecDeque::pop_front);
        let fault = scripted.or_else(|| state.roll(operation));
        state.injected += u64::from(fault.is_some());
        let yields_max = state.dice.map_or(0, |(_, odds)| odds.yields_max);
        let yields = state.draw(u64::from(yields_max) + 1);
        (fault, yields, state.releases)
    }

    async fn wait_for_release(&self, releases: u64) {
        loop {
            let released = self.shared.released.notified();
            if self.lock().releases > releases {
                return;
            }
            released.await;
        }
    }

    /// Decides about a call that reads.
    pub(super) async fn read<E>(&self, operation: Operation, failed: E) -> Result<(), E> {
        match self.meet(operation).await {
            None | Some(Fault::Late | Fault::Hold) => Ok(()),
            Some(Fault::Before | Fault::After | Fault::Full | Fault::Conflict) => Err(failed),
        }
    }
}
