//! The manifest of a recovery point: what it is, and where its disks' maps begin.
//!
//! JSON inside a sealed record; `point.json` in the tree shows it.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Consistency, check_name};
use crate::error::{Error, Problem, Result};
use crate::format::{HASH_BYTES, Hash, VERSION, hex};

/// What a point is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the manifest, 1.
    pub format: u32,
    /// The point's id, 32 hex digits.
    pub point: String,
    /// The machine's name.
    pub machine: String,
    /// The moment that the point stands for.
    pub time: Timestamp,
    /// When the backup began.
    pub started: Timestamp,
    /// When the last byte had been read.
    pub ended: Timestamp,
    /// How consistent it is.
    pub consistency: Consistency,
    /// Labels that the user gave.
    pub tags: Vec<String>,
    /// The program that made it.
    pub program: String,
    /// How the disks were made to hold still, where that was done by the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesced: Option<Quiesced>,
    /// The disks, in the order in which they were given.
    pub disks: Vec<ManifestDisk>,
}

/// A disk in a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestDisk {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Size of its chunks in bytes.
    pub chunk_bytes: u32,
    /// Id of the root of its map, 64 hex digits; none where the disk is all zeros.
    pub map: Option<String>,
    /// Level of that root.
    pub map_level: u8,
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Bytes that are zero or in holes.
    pub zero_bytes: u64,
    /// Plain bytes that the vault did not have yet.
    pub new_bytes: u64,
    /// Stored bytes of those, sealed, without the disk's map.
    pub stored_bytes: u64,
    /// Ranges that could not be read; a read of them is an error, never zeros.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<ByteRange>,
}

/// How disks were made to hold still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiesced {
    /// What was read.
    pub read: ReadFrom,
    /// How the scripts before and after ended, where there were some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scripts: Option<Scripts>,
    /// Why they failed, and the point was made all the same: one line, a kilobyte at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What the bytes of a point were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadFrom {
    /// The disks themselves.
    Disks,
    /// A snapshot that a command made.
    Snapshot,
    /// A copy that shares the blocks of an image file.
    Reflink,
}

/// How scripts ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scripts {
    /// All of them succeeded.
    Succeeded,
    /// One of them did not.
    Failed,
}

/// Bytes from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// First byte after.
    pub end: u64,
}

impl ByteRange {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

impl Manifest {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has only text keys")
    }

    /// Reads the stored form; what it holds is checked as far as later code relies on it.
    pub fn decode(bytes: &[u8], object: &str) -> Result<Self> {
        let wrong = |why: String| Error::damaged(object, 0, Problem::Manifest(why));
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if manifest.format != VERSION {
            return Err(Error::UnsupportedVersion {
                object: object.to_owned(),
                structure: "manifest",
                found: manifest.format,
                supported: VERSION,
            });
        }
        let mut names = HashSet::new();
        for disk in &manifest.disks {
            // Names become names of files: a holder of a lesser key must not lead others astray with them.
            check_name("disk name", &disk.name).map_err(|error| wrong(error.to_string()))?;
            // A set: a manifest of 16 MiB has room for a hundred thousand names to compare each with each.
            if !names.insert(disk.name.as_str()) {
                return Err(wrong(format!("disk {:?} is there twice", disk.name)));
            }
            let chunks = crate::format::header::CHUNK_SIZE_LOG2;
            let sizes = 1_u32 << chunks.start()..=1_u32 << chunks.end();
            if !disk.chunk_bytes.is_power_of_two() || !sizes.contains(&disk.chunk_bytes) {
                return Err(wrong(format!("disk {:?} has chunks of {} bytes", disk.name, disk.chunk_bytes)));
            }
            if disk.map.is_some() && disk.root().is_none() {
                return Err(wrong(format!("disk {:?} has no usable map id", disk.name)));
            }
        }
        Ok(manifest)
    }

    /// The disk of that name.
    pub fn disk(&self, name: &str) -> Option<&ManifestDisk> {
        self.disks.iter().find(|disk| disk.name == name)
    }
}

impl ManifestDisk {
    /// Id of the root of the map.
    pub fn root(&self) -> Option<Hash> {
        let text = self.map.as_deref()?;
        let (high, low) = text.split_at_checked(HASH_BYTES)?;
        let (high, low) = (crate::format::id_from_hex(high)?, crate::format::id_from_hex(low)?);
        let mut hash = [0; HASH_BYTES];
        hash[..16].copy_from_slice(&high);
        hash[16..].copy_from_slice(&low);
        Some(hash)
    }

    /// The map id as it is written.
    pub(crate) fn map_text(root: Option<Hash>) -> Option<String> {
        root.map(|root| hex(&root))
    }
}

#[cfg(test)]
mod tests {
    use super::{Manifest, ManifestDisk, Timestamp};
    use crate::format::VERSION;
    use crate::point::Consistency;

    fn manifest(disks: usize) -> Manifest {
        let disk = |number| ManifestDisk {
            name: format!("d{number}"),
            size_bytes: 0,
            chunk_bytes: 4096,
            map: None,
            map_level: 0,
            read_bytes: 0,
            zero_bytes: 0,
            new_bytes: 0,
            stored_bytes: 0,
            missing: Vec::new(),
        };
        Manifest {
            format: VERSION,
            point: String::new(),
            machine: String::new(),
            time: Timestamp::UNIX_EPOCH,
            started: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            consistency: Consistency::Crash,
            tags: Vec::new(),
            program: String::new(),
            quiesced: None,
            disks: (0..disks).map(disk).collect(),
        }
    }

    // Promise 2. As many disks as a record has room for: to compare each name with each is five billion comparisons.
    #[test]
    fn a_manifest_full_of_disks_is_read_and_a_second_name_found() {
        let mut full = manifest(100_000);
        let stored = full.encode();
        assert!(stored.len() < 16 << 20, "a record holds it");
        assert_eq!(Manifest::decode(&stored, "manifest").expect("it decodes"), full);
        full.disks[99_999].name = "d0".to_owned();
        let error = Manifest::decode(&full.encode(), "manifest").expect_err("a name is there twice");
        assert!(error.to_string().contains("\"d0\" is there twice"), "{error}");
    }
}
