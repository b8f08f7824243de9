//! How many endpoints of a group there are, and how many of them are out: what bounds ejection.
//!
//! Both counts live in one word, so that a place is taken only where there is one, whichever workers ask at once.

use std::sync::atomic::{AtomicU64, Ordering};

/// The endpoints of a group together, shared by their states.
#[derive(Debug, Default)]
pub struct Crowd(AtomicU64);

const MEMBER: u64 = 1 << 32;
const OUT: u64 = 1;

impl Crowd {
    /// Endpoints in the group.
    #[must_use]
    pub fn members(&self) -> u32 {
        members(self.0.load(Ordering::Relaxed))
    }

    /// Those of them that are ejected, down or draining.
    #[must_use]
    pub fn out(&self) -> u32 {
        out(self.0.load(Ordering::Relaxed))
    }

    /// One more goes out, unless more than half of the group would be out then.
    pub(super) fn try_take(&self) -> bool {
        let taken = |word| (2 * (u64::from(out(word)) + 1) <= u64::from(members(word))).then_some(word + OUT);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// An endpoint counted `before` and counts `now`.
    pub(super) fn turn(&self, before: Counted, now: Counted) {
        let (more, less) = (now.word(), before.word());
        if more != less {
            // One addition: neither count is ever seen without the other. Both stay above zero, for what is taken
            // away was added before.
            self.0.fetch_add(more.wrapping_sub(less), Ordering::Relaxed);
        }
    }
}

fn members(word: u64) -> u32 {
    u32::try_from(word >> 32).unwrap_or(u32::MAX)
}

fn out(word: u64) -> u32 {
    u32::try_from(word & 0xffff_ffff).unwrap_or(u32::MAX)
}

/// How one endpoint counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It is no member, or not any more.
    Away,
    /// It is a member.
    In,
    /// It is a member, and out.
    Out,
}

impl Counted {
    const fn word(self) -> u64 {
        match self {
            Counted::Away => 0,
            Counted::In => MEMBER,
            Counted::Out => MEMBER + OUT,
        }
    }
}
