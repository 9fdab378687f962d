//! Whether other gateways may have missed this one. Pure: what time it is comes from outside.
//!
//! A process that stood still wakes up with what clients had sent it, and the clients are elsewhere
//! by then and have sent it again there. So a gateway gives nothing to the queue while it may have
//! been missed, and nothing at all once it knows that it was.
//!
//! Invariants: between two words that it is there at most [`SILENT_MAX`] passes, or it is in doubt;
//! doubt ends with a word that comes a whole look after the first one, because who missed it before
//! has taken its reader by then, and that ends it.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two words that a gateway is there.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long others surely believe a word; they wait for four seconds.
const SILENT_MAX: Duration = Duration::from_secs(3);

/// What a gateway knows of itself. Times are those at which saying so was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has missed it until a while after this.
    There(Instant),
    /// It was silent for long, and has said that it is there again: first and last time.
    Back(Instant, Instant),
    /// Others have its sessions.
    Missed,
}

impl Standing {
    /// After a word that others can see by now.
    pub(crate) fn said(self, begun: Instant) -> Self {
        match self {
            Self::There(last) if begun < last + SILENT_MAX => Self::There(begun.max(last)),
            Self::Back(first, last) if begun < last + SILENT_MAX => {
                if begun >= first + LOOK_EVERY {
                    Self::There(begun)
                } else {
                    Self::Back(first, begun)
                }
            }
            Self::There(_) | Self::Back(..) => Self::Back(begun, begun),
            Self::Missed => Self::Missed,
        }
    }

    /// Whether nobody can have missed it.
    pub(crate) fn is_sure(self, now: Instant) -> bool {
        matches!(self, Self::There(last) if now < last + SILENT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_so_every_second_is_sure() {
        let begun = Instant::now();
        let mut standing = Standing::There(begun);
        for second in 1..10 {
            let now = begun + second * LOOK_EVERY;
            assert!(standing.is_sure(now));
            standing = standing.said(now);
        }
    }

    #[test]
    fn who_was_silent_is_in_doubt_until_a_look_after_it_is_back() {
        let begun = Instant::now();
        let standing = Standing::There(begun);
        let back = begun + SILENT_MAX;
        assert!(!standing.is_sure(back), "nobody was told since");
        let standing = standing.said(back);
        assert!(!standing.is_sure(back));
        let soon = back + LOOK_EVERY / 2;
        let standing = standing.said(soon);
        assert!(!standing.is_sure(soon), "who has missed it may be about to take its sessions");
        let later = back + LOOK_EVERY;
        assert!(standing.said(later).is_sure(later));
        let silent = soon + SILENT_MAX;
        assert!(!standing.said(silent).is_sure(silent), "it was silent again");
    }

    #[test]
    fn who_was_missed_stays_so() {
        let now = Instant::now();
        assert!(!Standing::Missed.said(now).said(now + LOOK_EVERY).is_sure(now + LOOK_EVERY));
    }
}
