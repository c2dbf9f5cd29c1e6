//! What a disk was asked to do, in order, and the disks that power loss may leave.
//!
//! A disk that honours flushes has everything that was written before the last one; of what was written since, any part,
//! in units of sectors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a disk writes wholly or not at all.
const SECTOR_BYTES: usize = 512;

/// The first block is never torn: the superblock of ext4 is longer than a sector and has one checksum. ext4 relies on
/// its being written whole, and so do all who keep anything there.
const NEVER_TORN_BYTES: u64 = 4096;

const BLOCK_BYTES: usize = 4096;

/// One thing that the disk was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    Flush,
    /// Somebody who uses the disk has something to say at this moment.
    Note(String),
}

impl Operation {
    /// Appends it to a file: kind, offset, length, bytes.
    pub fn append(&self, to: &mut File) -> io::Result<()> {
        let (kind, offset, bytes): (u8, u64, &[u8]) = match self {
            Self::Write { offset, bytes } => (b'w', *offset, bytes),
            Self::Flush => (b'f', 0, &[]),
            Self::Note(note) => (b'n', 0, note.as_bytes()),
        };
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let front = [&[kind][..], &offset.to_le_bytes(), &length.to_le_bytes()].concat();
        to.write_all(&[&front, bytes].concat())
    }

    fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut front = [0; 13];
        match from.read_exact(&mut front) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let offset = u64::from_le_bytes(front[1..9].try_into().expect("eight bytes"));
        let length = u32::from_le_bytes(front[9..].try_into().expect("four bytes"));
        let mut bytes = vec![0; length as usize];
        from.read_exact(&mut bytes)?;
        Ok(Some(match front[0] {
            b'w' => Self::Write { offset, bytes },
            b'f' => Self::Flush,
            _ => Self::Note(String::from_utf8(bytes).map_err(io::Error::other)?),
        }))
    }
}

/// What power loss leaves of the writes that were not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nothing,
    Everything,
    /// Each write or none of it by the toss of a coin, every third torn at sectors.
    Some {
        seed: u64,
    },
}

/// A disk and what it was asked to do.
pub struct Trace {
    pub before: Image,
    pub operations: Vec<Operation>,
}

impl Trace {
    pub fn read(before: Image, operations: &Path) -> io::Result<Self> {
        let mut from = io::BufReader::new(File::open(operations)?);
        let mut read = Vec::new();
        while let Some(operation) = Operation::read(&mut from)? {
            read.push(operation);
        }
        Ok(Self { before, operations: read })
    }

    /// The disk that power loss leaves after so many operations.
    pub fn after(&self, count: usize, left: Left) -> Image {
        let operations = &self.operations[..count];
        let flushed = operations.iter().rposition(|operation| *operation == Operation::Flush).unwrap_or(0);
        let mut image = self.before.clone();
        let mut random = crate::common::Random(match left {
            Left::Some { seed } => seed,
            _ => 0,
        });
        for (at, operation) in operations.iter().enumerate() {
            let Operation::Write { offset, bytes } = operation else { continue };
            if at < flushed || left == Left::Everything {
                image.write(*offset, bytes);
            } else if let Left::Some { .. } = left {
                match random.below(3) {
                    0 if *offset >= NEVER_TORN_BYTES => {
                        for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
                            if random.below(2) == 0 {
                                image.write(*offset + (sector * SECTOR_BYTES) as u64, bytes);
                            }
                        }
                    }
                    1 => image.write(*offset, bytes),
                    _ => {}
                }
            }
        }
        image
    }

    pub fn flushes(&self) -> usize {
        self.operations.iter().filter(|operation| **operation == Operation::Flush).count()
    }
}

/// A disk's content; most of it is zeros, and takes no room.
#[derive(Clone, Default)]
pub struct Image {
    blocks: BTreeMap<u64, Vec<u8>>,
    size_bytes: u64,
}

impl Image {
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut image = Self { blocks: BTreeMap::new(), size_bytes: file.metadata()?.len() };
        let mut piece = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            let count = file.read_at(&mut piece, at)?;
            if count == 0 {
                return Ok(image);
            }
            for (block, bytes) in piece[..count].chunks(BLOCK_BYTES).enumerate() {
                if bytes.iter().any(|byte| *byte != 0) {
                    image.write(at + (block * BLOCK_BYTES) as u64, bytes);
                }
            }
            at += count as u64;
        }
    }

    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.size_bytes)?;
        self.blocks.iter().try_for_each(|(block, bytes)| file.write_all_at(bytes, block * BLOCK_BYTES as u64))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let inside = (at % BLOCK_BYTES as u64) as usize;
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - inside));
            let block = self.blocks.entry(at / BLOCK_BYTES as u64).or_insert_with(|| vec![0; BLOCK_BYTES]);
            block[inside..inside + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            bytes = rest;
        }
    }
}
