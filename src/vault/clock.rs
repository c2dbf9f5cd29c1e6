//! Whether the clock can be believed, before anything ends for good by it.
//!
//! A clock that was set far ahead, by mistake or on purpose, ends the time of everything that was forgotten. What was recorded
//! in the vault tells how far time had come: by backups, and by whoever changed anything. A clock that is far ahead of all
//! that is believed a day later, if it says so still.
//!
//! Invariants:
//! - what was recorded within the last day proves nothing: the same wrong clock may have said it;
//! - nothing else than purging depends on it: no point is listed, kept or read by a clock.

use jiff::Timestamp;

use super::Vault;
use super::keys::KEYS_LOCK;
use crate::error::Result;
use crate::format::vault_event::Event;
use crate::media::LockKind;
use crate::point::vault_chain::{self, VaultChain};

/// What was recorded so recently proves nothing, in seconds.
const UNPROVEN: i64 = 86_400;

/// How far the clock may be ahead of what was recorded before that, in seconds.
const MOST_AHEAD: i64 = 7 * 86_400;

/// A clock that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockAhead {
    /// What it says.
    pub now: Timestamp,
    /// The newest time before the last day that anything was recorded at.
    pub last: Timestamp,
}

/// Whether a clock is too far ahead of what was recorded before its last day.
fn is_ahead(now: i64, last: i64) -> bool {
    now.saturating_sub(last) > UNPROVEN + MOST_AHEAD
}

impl Vault {
    /// Why nothing should end for good by this clock, if it should not.
    pub(super) fn clock_ahead(&self, chain: &VaultChain, now: Timestamp) -> Option<ClockAhead> {
        let end = now.as_second().saturating_sub(UNPROVEN);
        let own = chain.recorded.iter().copied().filter(|recorded| *recorded < end).max();
        let created = i64::try_from(self.header.created_unix_seconds).unwrap_or(0);
        let last = own.max(self.catalog.last_recorded_before(end)).map_or(created, |last| last.max(created));
        let last_time = Timestamp::from_second(last).unwrap_or(Timestamp::UNIX_EPOCH);
        is_ahead(now.as_second(), last).then_some(ClockAhead { now, last: last_time })
    }

    /// Notes what the clock says, so that it is believed if it goes on from there for a day.
    pub(super) fn note_time(&self) -> Result<()> {
        let media = self.media.as_ref();
        let _alone = media.lock(KEYS_LOCK, LockKind::Exclusive, true)?;
        let chain = self.own_chain_to_write()?;
        vault_chain::append(media, self.reader.store().keys(), &chain, Event::TimeNoted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_believed_as_far_as_something_was_recorded() {
        let day = 86_400;
        assert!(!is_ahead(100 * day, 99 * day) && !is_ahead(100 * day, 92 * day));
        assert!(is_ahead(100 * day, 91 * day) && is_ahead(i64::MAX, i64::MIN));
        assert!(!is_ahead(100 * day, 200 * day), "one that was set back ends nothing early");
    }
}
