//! Visiting the records of a segment one after the other, whatever stands between them.

use crate::error::{Damage, Error, Problem, Result};
use crate::format::segment::{ALIGNMENT, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, padded};
use crate::media::Object;

/// Read ahead in one piece, in bytes.
const WINDOW_BYTES: usize = 1 << 20;

/// Where the medium does not give a record's header, the walk goes on at the next multiple of this, in bytes.
const SECTOR_BYTES: u64 = 4096;

/// Places that the medium may refuse before a whole segment is given up: each may take it seconds.
const MOST_UNREADABLE: u32 = 64;

pub(super) enum Found<'a> {
    /// A record whose header is whole, with its stored payload, which may be opened in place.
    Record(RecordHeader, &'a mut [u8]),
    /// Something that is no record, or can't be read; the walk goes on at the next record that can be found.
    Gap(Error),
}

/// Visits the records from the segment's header up to `end`, in order; looks for the next record after a broken one.
pub(super) fn walk(object: &dyn Object, end: u64, visit: &mut dyn FnMut(u64, Found<'_>) -> Result<()>) -> Result<()> {
    let mut window = Window::new(object);
    let mut offset = HEADER_BYTES as u64;
    let mut in_gap = false;
    let mut expected_number = 0;
    while offset + RECORD_HEADER_BYTES as u64 <= end {
        let header = match window.get(offset, RECORD_HEADER_BYTES)? {
            Ok(header) => {
                let header: &[u8; RECORD_HEADER_BYTES] =
                    (&*header).try_into().expect("the window gives what was asked");
                RecordHeader::decode(header)
            }
            Err(error) => {
                if !in_gap {
                    visit(offset, Found::Gap(placed(error, offset)))?;
                }
                in_gap = true;
                offset = (offset + 1).next_multiple_of(SECTOR_BYTES);
                continue;
            }
        };
        match header {
            Ok(header) if offset + RECORD_HEADER_BYTES as u64 + u64::from(header.stored_bytes) <= end => {
                if header.number != expected_number && !in_gap {
                    visit(
                        offset,
                        Found::Gap(Error::damaged(object.name(), offset, Problem::Misplaced("record number"))),
                    )?;
                }
                in_gap = false;
                expected_number = header.number.saturating_add(1);
                match window.get(offset + RECORD_HEADER_BYTES as u64, header.stored_bytes as usize)? {
                    Ok(payload) => visit(offset, Found::Record(header, payload))?,
                    Err(error) => visit(offset, Found::Gap(placed(error, offset)))?,
                }
                offset += RECORD_HEADER_BYTES as u64 + padded(header.stored_bytes);
            }
            other => {
                if !in_gap {
                    let error = match other {
                        Err(error) => error.at(object.name(), offset),
                        Ok(_) => Error::damaged(object.name(), offset, Problem::Field("record length")),
                    };
                    visit(offset, Found::Gap(error))?;
                }
                in_gap = true;
                offset += ALIGNMENT;
            }
        }
    }
    if offset != end && !in_gap {
        visit(
            offset,
            Found::Gap(Error::damaged(object.name(), offset, Problem::Length { expected: end, found: offset })),
        )?;
    }
    Ok(())
}

/// A piece of an object read ahead.
pub(super) struct Window<'a> {
    object: &'a dyn Object,
    start: u64,
    bytes: Vec<u8>,
    /// Places that the medium refused so far.
    refused: u32,
}

impl<'a> Window<'a> {
    pub(super) fn new(object: &'a dyn Object) -> Self {
        Self { object, start: 0, bytes: Vec::new(), refused: 0 }
    }

    /// Whether the medium has refused too many places to be asked for more.
    pub(super) fn is_given_up(&self) -> bool {
        self.refused > MOST_UNREADABLE
    }

    /// A range of the object, or how the medium refused it. Fails where it has refused too many.
    pub(super) fn get(&mut self, offset: u64, length: usize) -> Result<std::result::Result<&mut [u8], Error>> {
        let inside = |start: u64, have: usize| {
            let from = usize::try_from(offset.checked_sub(start)?).ok()?;
            (from.checked_add(length)? <= have).then_some(from)
        };
        let from = match inside(self.start, self.bytes.len()) {
            Some(from) => from,
            None => {
                let left = self.object.length().saturating_sub(offset);
                let ahead = length.max(usize::try_from(left).unwrap_or(WINDOW_BYTES).min(WINDOW_BYTES));
                // Where something ahead can't be read, what is asked for often can.
                if self.fill(offset, ahead).is_err()
                    && let Err(error) = self.fill(offset, length)
                {
                    self.refused += 1;
                    return if self.refused > MOST_UNREADABLE { Err(error) } else { Ok(Err(error)) };
                }
                0
            }
        };
        Ok(Ok(&mut self.bytes[from..from + length]))
    }

    fn fill(&mut self, offset: u64, length: usize) -> Result<()> {
        self.bytes.resize(length, 0);
        self.start = offset;
        let read = self.object.read_past_map(offset, &mut self.bytes);
        if read.is_err() {
            self.bytes.clear();
        }
        read
    }
}

/// The medium's refusal with the place that it is about.
fn placed(error: Error, offset: u64) -> Error {
    match error {
        Error::Vault { path, source, .. } => {
            let object = path.to_string_lossy().into_owned();
            Error::Damaged(Damage { object, offset, problem: Problem::Unreadable(source.to_string()) })
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::ops::Range;
    use std::path::PathBuf;

    use super::*;
    use crate::format::segment::{Encoding, RecordType};
    use crate::format::short_hash;

    const RECORDS: u32 = 60;
    const PLAIN_BYTES: u32 = 40_000;
    const RECORD_BYTES: u64 = RECORD_HEADER_BYTES as u64 + PLAIN_BYTES as u64 + 16;

    /// Records of one length, on a medium that refuses any read that touches a range.
    struct Refusing {
        bytes: Vec<u8>,
        refused: Range<u64>,
    }

    impl Object for Refusing {
        fn name(&self) -> &str {
            "segments/x.seg"
        }

        fn length(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
            if offset < self.refused.end && self.refused.start < offset + buffer.len() as u64 {
                let source = io::Error::from_raw_os_error(libc::EIO);
                return Err(Error::Vault { operation: "read", path: PathBuf::from(self.name()), source });
            }
            let start = usize::try_from(offset).expect("small");
            buffer.copy_from_slice(&self.bytes[start..start + buffer.len()]);
            Ok(())
        }
    }

    fn refusing(refused: Range<u64>) -> Refusing {
        let mut bytes = vec![0; HEADER_BYTES];
        for number in 0..RECORDS {
            let payload = vec![number as u8; PLAIN_BYTES as usize + 16];
            let header = RecordHeader {
                number,
                kind: RecordType::Chunk,
                encoding: Encoding::Plain,
                plain_bytes: PLAIN_BYTES,
                stored_bytes: PLAIN_BYTES + 16,
                sealed_id: [0; 48],
                checksum: short_hash::<16>(&payload),
            };
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(&payload);
        }
        Refusing { bytes, refused }
    }

    /// Numbers of the records that were given, and places of gaps.
    fn walked(object: &Refusing) -> Result<(Vec<u32>, Vec<Damage>)> {
        let (mut numbers, mut gaps) = (Vec::new(), Vec::new());
        walk(object, object.length(), &mut |_, found| {
            match found {
                Found::Record(header, payload) => {
                    assert_eq!(short_hash::<16>(payload), header.checksum, "record {}", header.number);
                    numbers.push(header.number);
                }
                Found::Gap(Error::Damaged(damage)) => gaps.push(damage),
                Found::Gap(error) => panic!("{error}"),
            }
            Ok(())
        })?;
        Ok((numbers, gaps))
    }

    #[test]
    fn what_the_medium_refuses_costs_the_records_there() {
        let of_record = |number: u64| HEADER_BYTES as u64 + number * RECORD_BYTES;
        let payload = of_record(20) + 9000;
        let header = of_record(30) + 10;
        for (what, refused, lost, place) in [
            ("a sector of a payload", payload..payload + 512, 20..21, of_record(20)),
            ("a header", header..header + 1, 30..31, of_record(30)),
            ("much of three payloads", payload..payload + 2 * RECORD_BYTES, 20..23, of_record(20)),
        ] {
            let (numbers, gaps) = walked(&refusing(refused)).expect(what);
            let expected: Vec<u32> = (0..RECORDS).filter(|number| !lost.contains(number)).collect();
            assert_eq!(numbers, expected, "{what}");
            assert_eq!((gaps[0].object.as_str(), gaps[0].offset), ("segments/x.seg", place), "{what}");
            assert!(matches!(gaps[0].problem, Problem::Unreadable(_)), "{what}: {gaps:?}");
        }
    }

    #[test]
    fn a_medium_that_refuses_everything_is_given_up() {
        let object = refusing(0..u64::MAX);
        assert!(matches!(walked(&object), Err(Error::Vault { .. })));
    }
}
