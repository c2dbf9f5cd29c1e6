//! Where the live part of the log begins and ends.
//!
//! Cycles fall by one from one sector to the next at one place of the ring only, the head: a binary search finds it.
//! Because several writes are under way at once, and reach the disk in any order, the last of them before the head
//! may have gaps; so what precedes the head is looked at once more, sector by sector for gaps and record by record
//! for checksums, and the head falls back to before the first that is missing.
//!
//! The last whole record before the head tells the tail. If it is a record of an unmount, nothing is live.

use crate::guest::{MediumError, StaleReason};

use super::super::superblock::Superblock;
use super::Problem;
use super::ring::{RECORD_BYTES_MAX, Record, Ring, SECTOR};

/// Writes under way at once, at most.
const IN_FLIGHT: u64 = 8;
/// What they may cover, in sectors.
const IN_FLIGHT_SECTORS: u64 = IN_FLIGHT * RECORD_BYTES_MAX as u64 / SECTOR;
/// No header is farther from the end of its record.
const RECORD_SECTORS_MAX: u64 = RECORD_BYTES_MAX as u64 / SECTOR + 8;

/// `oh_flags` of the only operation of an unmount record.
const FLAG_UNMOUNT: u8 = 0x20;

/// The live part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub tail: u64,
    pub head: u64,
    /// The number that a record at the head would have: nothing on the volume is newer.
    pub end: u64,
    /// What writes that were under way behind the head may have overwritten, in sectors.
    pub reach: u64,
}

fn damaged() -> Problem {
    Problem::Stale(StaleReason::DamagedJournal)
}

/// Finds the live part; `None` where there is none.
pub(super) fn find(ring: &Ring<'_>, sb: &Superblock) -> Result<Option<Live>, Problem> {
    let Some(head) = find_head(ring, sb)? else {
        return Ok(None);
    };
    let last = record_before(ring, sb, head)?;
    if is_unmount(ring, &last)? {
        return Ok(None);
    }
    let Some(torn) = first_torn(ring, sb, head, last.tail)? else {
        return live(ring, &last, head);
    };
    let last = record_before(ring, sb, torn)?;
    if is_unmount(ring, &last)? {
        return Ok(None);
    }
    live(ring, &last, torn)
}

/// What lies between the tail that the last record tells of and the head behind it. The numbers of both have the turn
/// of the ring that they are from; where those contradict the places, the log is not one of a single history.
fn live(ring: &Ring<'_>, last: &Record, head: u64) -> Result<Option<Live>, Problem> {
    let tail = last.tail;
    let cycle = u64::from(last.cycle()) + u64::from(head <= last.at);
    let is_one_history = if u64::from(last.tail_cycle) == cycle {
        tail <= head
    } else {
        u64::from(last.tail_cycle) + 1 == cycle && head < tail
    };
    if tail >= ring.sectors || !is_one_history {
        return Err(damaged());
    }
    let reach = (IN_FLIGHT * u64::from(last.size_bytes) / SECTOR).min(IN_FLIGHT_SECTORS);
    Ok((tail != head).then_some(Live { tail, head, end: cycle << 32 | head, reach }))
}

/// The sector behind the last whole record; `None` where the log was never written to.
fn find_head(ring: &Ring<'_>, sb: &Superblock) -> Result<Option<u64>, Problem> {
    let end = ring.sectors;
    let (first, last) = (ring.cycle(0)?, ring.cycle(end - 1)?);
    if first == 0 {
        return Ok(None);
    }
    if last == 0 && first != 1 {
        return Err(damaged());
    }
    // With one cycle all over, the head is at the end, unless a gap before it still has the cycle before.
    let (guess, stale) = if first == last { (end, last.wrapping_sub(1)) } else { (search(ring, last)?, last) };
    let head = without_gaps(ring, guess, stale, last == 0)?;
    let before = ring.header_before(head, RECORD_SECTORS_MAX)?.ok_or_else(damaged)?;
    let is_whole = ring.record(before, sb)?.is_some_and(|record| ring.distance(before, head) == record.sectors());
    Ok(Some(if is_whole { head % end } else { before }))
}

/// A place where the cycle falls to `last`, that of the last sector.
fn search(ring: &Ring<'_>, last: u32) -> Result<u64, MediumError> {
    let (mut newer, mut older) = (0, ring.sectors - 1);
    while older - newer > 1 {
        let middle = newer + (older - newer) / 2;
        if ring.cycle(middle)? == last {
            older = middle;
        } else {
            newer = middle;
        }
    }
    Ok(older)
}

/// The first gap in what the last writes before `head` covered, else `head`. Before the head `stale` is the cycle of
/// sectors that were not written; at the end of the ring, where all is one turn older, that before.
fn without_gaps(ring: &Ring<'_>, head: u64, stale: u32, is_first_turn: bool) -> Result<u64, MediumError> {
    if let Some(missing) = IN_FLIGHT_SECTORS.checked_sub(head)
        && !is_first_turn
        && let Some(gap) =
            ring.find_cycle(ring.sectors.saturating_sub(missing).max(head), ring.sectors, stale.wrapping_sub(1))?
    {
        return Ok(gap);
    }
    Ok(ring.find_cycle(head.saturating_sub(IN_FLIGHT_SECTORS), head, stale)?.unwrap_or(head))
}

/// The record that ends at a place.
fn record_before(ring: &Ring<'_>, sb: &Superblock, end: u64) -> Result<Record, Problem> {
    let at = ring.header_before(end, RECORD_SECTORS_MAX)?.ok_or_else(damaged)?;
    let record = ring.record(at, sb)?.ok_or_else(damaged)?;
    if ring.distance(at, end) == record.sectors() { Ok(record) } else { Err(damaged()) }
}

fn is_unmount(ring: &Ring<'_>, record: &Record) -> Result<bool, Problem> {
    Ok(record.operations == 1 && record.first_flags(ring)? & FLAG_UNMOUNT != 0)
}

/// The first of the last records before the head, not behind the tail, that was not wholly written.
fn first_torn(ring: &Ring<'_>, sb: &Superblock, head: u64, tail: u64) -> Result<Option<u64>, Problem> {
    let mut torn = None;
    let mut at = head;
    for _ in 0..IN_FLIGHT {
        // In a log that was not yet gone round, no record precedes the first.
        let Some(before) = ring.header_before(at, RECORD_SECTORS_MAX)? else {
            break;
        };
        let record = ring.record(before, sb)?.filter(|record| ring.distance(before, at) == record.sectors());
        let is_whole = match record {
            Some(record) => record.read(ring, sb.is_v5)?.is_some(),
            None => false,
        };
        if !is_whole {
            torn = Some(before);
        }
        at = before;
        if at == tail {
            break;
        }
    }
    Ok(torn)
}
