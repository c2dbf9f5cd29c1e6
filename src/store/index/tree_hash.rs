//! The BLAKE3 of a long range of an object, by as many threads as there are cores.
//!
//! BLAKE3 is a tree: any aligned part whose length is a power of two is a subtree, which can be hashed alone. The
//! result is the same as that of hashing the range from front to end.

use std::ops::Range;

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use crate::error::{Error, Result};
use crate::format::Hash;
use crate::media::Object;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::thread;

/// Length of a part that a thread hashes alone, in bytes; a power of two.
const PART_BYTES: u64 = 1 << 20;

/// The hash of the bytes in `range`.
pub(super) fn of(object: &dyn Object, range: Range<u64>) -> Result<Hash> {
    let length = range.end.saturating_sub(range.start);
    let mut buffer = Vec::new();
    if length <= PART_BYTES {
        // A single part is the root itself.
        read(object, range.start, length, &mut buffer)?;
        return Ok(*blake3::hash(&buffer).as_bytes());
    }
    let parts = usize::try_from(length.div_ceil(PART_BYTES)).unwrap_or(usize::MAX);
    let threads = crate::cores().min(parts);
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, ChainingValue)>> {
        let (mut buffer, mut hashed) = (Vec::new(), Vec::new());
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return Ok(hashed);
            }
            let offset = part as u64 * PART_BYTES;
            read(object, range.start + offset, (length - offset).min(PART_BYTES), &mut buffer)?;
            hashed.push((part, Hasher::new().set_input_offset(offset).update(&buffer).finalize_non_root()));
        }
    };
    let mut values = vec![ChainingValue::default(); parts];
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            for (part, value) in thread.join().unwrap_or(Err(Error::Poisoned))? {
                values[part] = value;
            }
            Ok::<(), Error>(())
        })
    })?;
    let (left, right) = split(&values, length);
    Ok(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

/// The two subtrees below the root of these parts, which are `length` bytes long.
fn split(parts: &[ChainingValue], length: u64) -> (ChainingValue, ChainingValue) {
    let left_bytes = left_subtree_len(length);
    let (left, right) = parts.split_at(usize::try_from(left_bytes / PART_BYTES).unwrap_or(parts.len()));
    (subtree(left, left_bytes), subtree(right, length - left_bytes))
}

fn subtree(parts: &[ChainingValue], length: u64) -> ChainingValue {
    match parts {
        [part] => *part,
        parts => {
            let (left, right) = split(parts, length);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

fn read(object: &dyn Object, offset: u64, length: u64, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
    object.read_past_map(offset, buffer)
}

#[cfg(test)]
mod tests {
    use super::{Object, PART_BYTES, Result, of};

    struct Bytes(Vec<u8>);

    impl Object for Bytes {
        fn name(&self) -> &str {
            "bytes"
        }

        fn length(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
            let start = usize::try_from(offset).expect("small");
            buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
            Ok(())
        }
    }

    #[test]
    fn it_is_the_hash_of_the_bytes() {
        let most = 5 * PART_BYTES + 1025;
        let bytes = Bytes((0..most).map(|number| (number % 251) as u8).collect());
        let whole = |parts: u64| [parts * PART_BYTES - 1, parts * PART_BYTES, parts * PART_BYTES + 1];
        for length in [0, 1, 1024, most].into_iter().chain((1..=5).flat_map(whole)) {
            for start in [0, 1].into_iter().filter(|start| start + length <= most) {
                let plain =
                    &bytes.0[usize::try_from(start).expect("small")..usize::try_from(start + length).expect("small")];
                let hash = of(&bytes, start..start + length).expect("hashed");
                assert_eq!(hash, *blake3::hash(plain).as_bytes(), "{length} bytes from {start}");
            }
        }
    }
}
