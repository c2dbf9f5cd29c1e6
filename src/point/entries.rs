//! Reading the entries of catalog chains, many at once: a vault has thousands, and each is a file of its own.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::check_name;
use crate::error::{Error, Problem, Result};
use crate::format::catalog_entry::{self, Entry, MOST_BYTES};
use crate::format::{Hash, Id, hex};
use crate::media::Media;
use crate::seal::VaultKeys;

/// Threads that read. More than there are cores: where nothing is in memory, each waits for the medium.
const THREADS: usize = 8;

/// Things that one thread does faster than others are started.
const FEW: usize = 32;

/// Most missing entries that are named between two that are there: a number of its own must not cost for ever.
pub(super) const MOST_LOST: u64 = 16;

/// What was read of an entry: the hash of its bytes, and what they say.
pub(super) type ReadEntry = (Hash, Result<Entry>);

/// The numbers of a chain's entries, in order.
pub(crate) fn sequences(media: &dyn Media, chain: &Id) -> Result<Vec<u64>> {
    let listed = media.list(&format!("{}/{}", catalog_entry::FOLDER, hex(chain)))?;
    let mut sequences: Vec<u64> = listed.iter().filter_map(|name| catalog_entry::sequence_of(name)).collect();
    sequences.sort_unstable();
    Ok(sequences)
}

/// Reads an entry as it is stored. The inner error is that of a file that can't be one.
pub(crate) fn stored(media: &dyn Media, chain: &Id, sequence: u64) -> Result<Result<Vec<u8>>> {
    let name = catalog_entry::object(chain, sequence);
    let object = media.open(&name)?;
    let length = usize::try_from(object.length()).unwrap_or(usize::MAX);
    if length > MOST_BYTES {
        let problem = Problem::Length { expected: MOST_BYTES as u64, found: object.length() };
        return Ok(Err(Error::damaged(name, 0, problem)));
    }
    let mut bytes = vec![0; length];
    object.read_past_map(0, &mut bytes)?;
    Ok(Ok(bytes))
}

/// Reads and opens an entry. Fails only where the medium does not give it.
pub(super) fn read(media: &dyn Media, keys: &VaultKeys, chain: &Id, sequence: u64) -> Result<ReadEntry> {
    let bytes = match stored(media, chain, sequence)? {
        Ok(bytes) => bytes,
        Err(error) => return Ok((hash(&[]), Err(error))),
    };
    let entry = keys.open_entry(chain, sequence, &bytes).and_then(|entry| {
        // A name becomes a directory's name: a holder of a lesser key must not lead others astray with it.
        let name = || catalog_entry::object(chain, sequence);
        let wrong = |_| Error::damaged(name(), 0, Problem::Field("machine name"));
        check_name("machine name", entry.machine()).map_err(wrong).map(|()| entry)
    });
    Ok((hash(&bytes), entry))
}

/// The same, with the medium's failure as what the entry says.
pub(super) fn read_or_why(media: &dyn Media, keys: &VaultKeys, chain: &Id, sequence: u64) -> ReadEntry {
    read(media, keys, chain, sequence).unwrap_or_else(|error| (hash(&[]), Err(error)))
}

fn hash(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

/// Does the same with each of many things, some at once; the results in order.
pub(super) fn each<T: Sync, R: Send>(things: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if things.len() <= FEW {
        return things.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            match things.get(number) {
                Some(thing) => done.push((number, work(thing))),
                None => return done,
            }
        }
    };
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        // Where no more threads can be had, this one does it all.
        let begin = |_| std::thread::Builder::new().spawn_scoped(scope, take).ok();
        let threads: Vec<_> = (1..THREADS.min(things.len())).filter_map(begin).collect();
        let mut done = take();
        done.extend(threads.into_iter().flat_map(|thread| thread.join().expect("a thread that does not panic")));
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::{FEW, each};

    #[test]
    fn results_come_in_order() {
        for count in [0, 1, FEW, FEW + 1, 10 * FEW] {
            let things: Vec<usize> = (0..count).collect();
            assert_eq!(each(&things, |thing| thing * 3), (0..count).map(|thing| thing * 3).collect::<Vec<_>>());
        }
    }
}
