//! Seeds: small inputs that their target takes, from which mutations begin.
//!
//! They are made by the engine's own encoders: a vault under known keys is filled by two backups, and its objects are cut
//! to what the targets take.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use icecore::Vault;
use icecore::backup::{BackupRequest, Progress};
use icecore::format::catalog_entry::{Change, Consistency, PointChanged, PointMade};
use icecore::format::check_note::{self, Check, Checked};
use icecore::format::condemned;
use icecore::format::index_run::{ENTRY_BYTES, RunHeader};
use icecore::format::inventory::{Inventory, Prefix};
use icecore::format::key_slot::{KeySlot, Role, SlotKind};
use icecore::format::map_node::MapNode;
use icecore::format::segment::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordType, TRAILER_BYTES, Trailer, encode_table};
use icecore::format::vault_event::{DocumentKind, DocumentSet, Event, Quota, SoftDelete, VaultEvent};
use icecore::format::{header, index_run, key_slot, segment, with_hash};
use icecore::media::{DirectoryMedia, Media, ReadMode};
use icecore::seal::SegmentSeal;
use icecore::source::Source;
use icecore::store::encode;
use icecore::vault::{FOLDERS, LOCKS, OpenOptions};

use crate::keys::{self, vault_keys};
use crate::mutate::Random;
use crate::targets::{BASES, PATHS, XFS_BASES, base_path, crc32, fast_commits, hand_made, unsealed, with_parity};

/// One input: its target, its name, its bytes.
struct Seed {
    target: &'static str,
    name: String,
    bytes: Vec<u8>,
}

/// Where a target's seeds lie.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target)
}

/// The seeds of a target, in order of name.
///
/// # Errors
/// Where the folder can't be read.
pub fn read(target: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(folder(target))? {
        let entry = entry?;
        seeds.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
    }
    seeds.sort();
    Ok(seeds)
}

/// Makes all seeds and writes them; how many.
///
/// # Errors
/// Where a vault can't be made or a file not be written.
pub fn write() -> io::Result<usize> {
    let mut seeds = of_a_vault()?;
    seeds.extend(of_slots());
    seeds.extend(of_payloads());
    seeds.extend(of_maps());
    seeds.extend(of_manifests());
    seeds.extend(of_points());
    seeds.extend(of_notes());
    seeds.extend(of_condemned());
    seeds.extend(of_inventories());
    seeds.extend(of_events());
    seeds.extend(of_parity());
    seeds.extend(of_partitions());
    seeds.extend(of_volumes());
    seeds.extend(of_guests());
    seeds.extend(of_images());
    seeds.extend(of_groups());
    for seed in &seeds {
        std::fs::create_dir_all(folder(seed.target))?;
        std::fs::write(folder(seed.target).join(&seed.name), &seed.bytes)?;
    }
    Ok(seeds.len())
}

fn seed(target: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed { target, name: name.into(), bytes: bytes.into() }
}

/// A disk in memory.
struct Disk(Vec<u8>);

impl Source for Disk {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let length = buffer.len().min(self.0.len() - start);
        buffer[..length].copy_from_slice(&self.0[start..start + length]);
        Ok(length)
    }
}

fn text(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|line| format!("line {line}: nothing but seeds\n").into_bytes()).collect()
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..length).map(|_| random.number().to_le_bytes()[3]).collect()
}

/// The objects of a vault that two backups filled.
fn of_a_vault() -> io::Result<Vec<Seed>> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("vault");
    let vault_header = crate::targets::vault_header();
    let header_bytes = vault_header.encode(vault_keys().authenticate_header(&vault_header));
    let slot = keys::slot(Role::Admin, 0, &keys::slot_payload()).encode();
    let failed = io::Error::other::<icecore::Error>;
    let media = DirectoryMedia::new(&path, ReadMode::Pread);
    media.initialize(&FOLDERS, &LOCKS).map_err(failed)?;
    let slot_name = key_slot::object(&keys::SLOT, 0);
    for (name, bytes) in [(slot_name.as_str(), slot.as_slice()), (header::OBJECT, &header_bytes)] {
        std::fs::write(path.join(name), bytes)?;
    }
    let vault = Vault::open(&path, &keys::credential(), &OpenOptions::default()).map_err(failed)?;
    let mut disk = [text(400), vec![0; 40_000], noise(1, 9000)].concat();
    for day in 0..2 {
        disk[day * 5000] ^= 1;
        let request = BackupRequest::new("web01").disk("os", Disk(disk.clone())).disk("data", Disk(text(30)));
        vault.backup(&request, &Progress::default()).map_err(failed)?;
    }
    let mut seeds = vec![seed("header", "vault", header_bytes)];
    for folder in ["segments", "index"] {
        for (number, name) in (0..).zip(media.list(folder).map_err(failed)?) {
            let bytes = std::fs::read(path.join(folder).join(name))?;
            seeds.extend(if folder == "index" { of_run(number, &bytes) } else { of_segment(number, &bytes) });
        }
    }
    for chain in media.list_folders("catalog").map_err(failed)? {
        let folder = path.join("catalog").join(chain);
        for number in 0..2 {
            let bytes = std::fs::read(folder.join(format!("{number:016x}.entry")))?;
            seeds.push(seed("catalog_entry", format!("stored-{number}"), [[0].as_slice(), &bytes].concat()));
        }
    }
    for point in vault.points("web01").map_err(failed)?.iter().take(1) {
        let manifest = vault.manifest(point).map_err(failed)?;
        seeds.push(seed("manifest", "vault", manifest.encode()));
    }
    Ok(seeds)
}

fn of_segment(number: u32, bytes: &[u8]) -> Vec<Seed> {
    let name = format!("vault-{number}");
    let (header, rest) = bytes.split_at(HEADER_BYTES);
    let mut seeds = vec![
        seed("segment_header", &name, header),
        seed("record_header", &name, &rest[..RECORD_HEADER_BYTES]),
        seed("segment", &name, bytes),
    ];
    let (before, trailer_bytes) = bytes.split_at(bytes.len() - TRAILER_BYTES);
    let id: [u8; 16] = header[32..48].try_into().expect("16 bytes");
    let trailer_bytes: &[u8; TRAILER_BYTES] = trailer_bytes.try_into().expect("cut so");
    let (trailer, _) = Trailer::decode(trailer_bytes, &id, bytes.len() as u64).expect("a trailer just written");
    let sealed = before[usize::try_from(trailer.table_offset).expect("small")..].to_vec();
    let entries = SegmentSeal::of_table(vault_keys(), &id, 0)
        .and_then(|seal| seal.open_table(&trailer, sealed))
        .expect("a table just written");
    let table = encode_table(&entries);
    seeds.push(seed("segment_table", &name, [trailer_bytes.as_slice(), &table].concat()));
    seeds
}

/// A run without the zeros between its parts.
fn of_run(number: u32, bytes: &[u8]) -> Vec<Seed> {
    let (prefix, _) = bytes.split_first_chunk().expect("a run is longer");
    let header = RunHeader::decode(prefix, bytes.len() as u64).expect("a run just written");
    let at = |offset: u64| usize::try_from(offset).expect("small");
    let buckets = at(header.buckets_offset());
    let entries = at(header.entries_offset());
    let parts = [
        &bytes[..header.listed_bytes()],
        &bytes[buckets..buckets + index_run::BUCKET_BYTES * ((1 << header.bucket_bits) + 1)],
        &bytes[entries..entries + ENTRY_BYTES * at(header.entries)],
    ];
    vec![seed("index_run", format!("vault-{number}"), parts.concat())]
}

fn of_slots() -> Vec<Seed> {
    let payload = keys::slot_payload();
    let mut seeds = Vec::new();
    for (number, role) in [(0, Role::Backup), (1, Role::Restore), (2, Role::Admin)] {
        let payload = &payload[..role.payload_bytes(0)];
        let slot = keys::slot(role, 0, payload);
        let kind = SlotKind::Password { passes: 3, memory_kib: 64 << 10, lanes: 4 };
        seeds.push(seed("key_slot", format!("key-file-{}", role.name()), slot.encode()));
        seeds.push(seed("key_slot", format!("password-{}", role.name()), KeySlot { kind, ..slot.clone() }.encode()));
        let external = KeySlot { kind: SlotKind::External, wrapped: b"wrapped".to_vec(), ..slot.clone() };
        seeds.push(seed("key_slot", format!("external-{}", role.name()), external.encode()));
        let recovery = KeySlot { kind: SlotKind::Recovery, label: String::new(), ..slot };
        seeds.push(seed("key_slot", format!("recovery-{}", role.name()), recovery.encode()));
        seeds.push(seed("key_slot_payload", role.name(), [&[number, 0], payload].concat()));
        // One epoch more.
        let one: &[u8] = &[number, 1, 1, 0, 0, 0];
        let more = [one, &payload[4..], &payload[40..]].concat();
        seeds.push(seed("key_slot_payload", format!("{}-rotated", role.name()), more));
    }
    seeds
}

fn of_payloads() -> Vec<Seed> {
    let plains = [("text", text(60)), ("noise", noise(2, 200)), ("zeros", vec![0; 70_000]), ("short", b"x".to_vec())];
    let mut seeds = Vec::new();
    for (name, plain) in plains {
        for level in [-5, 3, 19] {
            let mut out = vec![0; plain.len()];
            let (encoding, length) = encode(&plain, level, &mut out);
            let declared = u32::try_from(plain.len() - 1).expect("short").to_le_bytes();
            let encoding = [u8::from(encoding == segment::Encoding::Zstd)];
            let name = format!("{name}-{level}");
            seeds.push(seed("payload", name, [declared.as_slice(), &encoding, &out[..length]].concat()));
        }
    }
    seeds
}

fn of_maps() -> Vec<Seed> {
    let mut one = MapNode::empty(2);
    one.children[7] = Some([1; 32]);
    let mut full = MapNode::empty(0);
    full.children.iter_mut().zip(1..).for_each(|(child, number)| *child = Some([number; 32]));
    let mut seeds = vec![seed("map_node", "one", one.encode()), seed("map_node", "full", full.encode())];
    let records = [
        (RecordType::MapNode, one.encode()),
        (RecordType::MapNode, full.encode()),
        (RecordType::Chunk, text(100)),
        (RecordType::Chunk, noise(3, 100)),
        (RecordType::Manifest, manifests()[0].1.as_bytes().to_vec()),
    ];
    seeds.push(seed("segment_unsealed", "all-kinds", unsealed(&records)));
    seeds.push(seed("segment_unsealed", "one-record", unsealed(&records[3..4])));
    // Sizes of two disks with level and root of each; nodes are numbered from 1, chunk 0 is there, 200 is nowhere.
    let disk = |size: u64, log2: u8, level: u8, root: u8| [&size.to_le_bytes()[..], &[log2 - 12, level, root]].concat();
    let node = |level: u8, children: &[(u8, u8)]| {
        let mut bytes = vec![level, u8::try_from(children.len()).expect("few")];
        children.iter().for_each(|(place, record)| bytes.extend([*place, *record]));
        bytes
    };
    let leaf = node(0, &[(0, 0), (1, 0), (127, 0)]);
    let inner = node(1, &[(0, 1), (2, 1), (3, 200)]);
    seeds.push(seed(
        "disk_map",
        "one-level",
        [disk(400_000, 12, 0, 1), disk(300_000, 12, 0, 1), leaf.clone()].concat(),
    ));
    let two = [disk(1 << 21, 12, 1, 2), disk(1 << 19, 12, 0, 1), leaf.clone(), inner.clone()].concat();
    seeds.push(seed("disk_map", "two-levels", two));
    let tall: Vec<u8> = (2..8).flat_map(|level| node(level, &[(0, level), (5, level)])).collect();
    let last: Vec<u8> = (0..8).flat_map(|level| node(level, &[(127, level), (126, level)])).collect();
    let past = [disk(u64::MAX, 12, 7, 8), disk(1 << 30, 12, 2, 3), last].concat();
    seeds.push(seed("disk_map", "children-past-the-end", past));
    let most = [disk(u64::MAX, 12, 7, 8), disk(1 << 30, 13, 2, 3), leaf, inner, tall].concat();
    seeds.push(seed("disk_map", "as-large-as-can-be", most));
    seeds
}

fn manifests() -> [(&'static str, String); 2] {
    let disk = |name: &str, rest: &str| {
        format!(
            r#"{{"name":"{name}","size_bytes":1048576,"chunk_bytes":65536,"map":"{}","map_level":0,"read_bytes":1,"zero_bytes":2,"new_bytes":3,"stored_bytes":4{rest}}}"#,
            "ab".repeat(32)
        )
    };
    let manifest = |tags: &str, disks: &str| {
        format!(
            r#"{{"format":1,"point":"{}","machine":"web01","time":"2026-11-20T02:00:00Z","started":"2026-11-20T02:00:01Z","ended":"2026-11-20T02:01:00.5Z","consistency":"file-system","tags":[{tags}],"program":"icecore","disks":[{disks}]}}"#,
            "0123456789abcdef".repeat(2)
        )
    };
    let missing = r#","missing":[{"start":5,"end":700},{"start":1000,"end":2000}],"unknown":[1,{"a":null}]"#;
    let two = [disk("os", ""), disk("data", missing)].join(",");
    [("two-disks", manifest(r#""golden","\u00e4""#, &two)), ("no-disk", manifest("", ""))]
}

fn of_manifests() -> Vec<Seed> {
    manifests().into_iter().map(|(name, text)| seed("manifest", name, text)).collect()
}

fn of_points() -> Vec<Seed> {
    let all = [Consistency::Crash, Consistency::FileSystem, Consistency::Application];
    let payload = |(number, consistency): (u8, Consistency)| {
        let event = PointMade {
            predecessor: [number; 32],
            consistency,
            point: [3; 16],
            time_unix_seconds: 1_800_000_000,
            recorded_unix_seconds: -1,
            segment: [4; 16],
            offset: 192,
            manifest: [5; 32],
            machine: "w".repeat(usize::from(number) * 60 + 1),
        };
        let sequence = u64::from(number).to_le_bytes();
        seed("catalog_entry", format!("payload-{number}"), [[1].as_slice(), &sequence, &event.encode()].concat())
    };
    let changes = [
        Change::Forgotten { until_unix_seconds: 1_900_000_000 },
        Change::BroughtBack,
        Change::Protected { until_unix_seconds: i64::MAX },
        Change::Released,
        Change::Purged,
    ];
    let changed = |(number, change): (u8, Change)| {
        let event = PointChanged {
            predecessor: [number; 32],
            change,
            point: [3; 16],
            recorded_unix_seconds: 1_800_000_000,
            machine: "web01".to_owned(),
            reason: "why".repeat(usize::from(number)),
        };
        let payload = [[1].as_slice(), &7_u64.to_le_bytes(), &event.encode(), &[9; 64]].concat();
        seed("catalog_entry", format!("change-{number}"), payload)
    };
    (0..).zip(all).map(payload).chain((0..).zip(changes).map(changed)).collect()
}

fn of_notes() -> Vec<Seed> {
    let check = |damaged| Some(Check { unix_seconds: 1_800_000_000 + u64::from(damaged), damaged });
    let entries = [
        ([1; 16], Checked::default()),
        ([2; 16], Checked { checksums: check(false), keys: None }),
        ([7; 16], Checked { checksums: check(true), keys: check(false) }),
    ];
    let note = |name, entries: &[_]| seed("check_note", name, check_note::encode(&keys::VAULT, entries));
    vec![note("empty", &[]), note("three-segments", &entries)]
}

fn of_condemned() -> Vec<Seed> {
    let list = |name, ids: &[_]| seed("condemned", name, condemned::encode(&keys::VAULT, ids));
    vec![list("empty", &[]), list("three-segments", &[[1; 16], [2; 16], [7; 16]])]
}

fn of_inventories() -> Vec<Seed> {
    let entries = vec![(0, [1; 32]), (1, [2; 32]), (7, [3; 32])];
    let full = Inventory {
        header: [9; 32],
        segments: vec![[1; 16], [2; 16], [3; 16]],
        chains: vec![([4; 16], entries), ([5; 16], Vec::new())],
    };
    let of = |name: &str, first: u8, bytes: Vec<u8>| seed("inventory", name, [&[first], bytes.as_slice()].concat());
    let prefix = Prefix { epoch: 1, vault: keys::VAULT, salt: [7; 32] };
    let sealed = [0xAA; 100];
    let stored = with_hash([prefix.encode(100).as_slice(), &sealed].concat());
    vec![
        of("stored", 0, stored),
        of("empty", 1, Inventory::default().encode()),
        of("segments-and-chains", 1, full.encode()),
    ]
}

fn of_events() -> Vec<Seed> {
    let began = |epoch, rewrites| VaultEvent {
        predecessor: [1; 32],
        recorded_unix_seconds: 1_800_000_000,
        event: Event::EpochBegan { epoch, inventory: [2; 32], rewrites },
    };
    let seed =
        |name: &str, event: VaultEvent| seed("vault_event", name, [event.encode().as_slice(), &[9; 64]].concat());
    let quota = Quota { warn_bytes: 1 << 39, hard_bytes: 1 << 40 };
    let of = |machine: &str| Event::QuotaSet { machine: machine.to_owned(), quota };
    let document = |kind, document: &[u8]| {
        Event::DocumentSet(DocumentSet { kind, name: "web01".to_owned(), document: document.to_vec() })
    };
    let soft_delete = SoftDelete { grace_seconds: 86_400, locked_until_unix_seconds: i64::MAX };
    vec![
        seed("epoch", began(1, false)),
        seed("epoch-rewritten", began(2, true)),
        seed("slot", VaultEvent { event: Event::SlotRemoved { slot: [3; 8] }, ..began(1, false) }),
        seed("policy", VaultEvent { event: document(DocumentKind::Policy, b"{\"version\":1}"), ..began(1, false) }),
        seed("machine-removed", VaultEvent { event: document(DocumentKind::Machine, b""), ..began(1, false) }),
        seed("soft-delete", VaultEvent { event: Event::SoftDeleteSet(soft_delete), ..began(1, false) }),
        seed("time", VaultEvent { event: Event::TimeNoted, ..began(1, false) }),
        seed(
            "given-up",
            VaultEvent { event: Event::GivenUp { chain: [4; 16], sequence: 7, found: [5; 32] }, ..began(1, false) },
        ),
        seed("quota", VaultEvent { event: of("web01"), ..began(1, false) }),
        seed("quota-vault", VaultEvent { event: of(""), ..began(1, false) }),
    ]
}

fn of_parity() -> Vec<Seed> {
    let input = |name, length, groups, shards| seed("parity", name, with_parity(length, groups, shards));
    vec![input("one-group", 9000, 1, 2), input("two-groups", 17_000, 2, 1), input("one-byte", 1, 1, 2)]
}

const SECTOR: usize = 512;

fn of_partitions() -> Vec<Seed> {
    let entry = |sector: &mut [u8], index: usize, kind: u8, first: u32, sectors: u32| {
        let entry = &mut sector[446 + 16 * index..][..16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&sectors.to_le_bytes());
        sector[510..512].copy_from_slice(&[0x55, 0xAA]);
    };
    let input = |zeros: u16, last: u16, bytes: &[u8]| [&zeros.to_le_bytes(), &last.to_le_bytes(), bytes].concat();
    let mut mbr = vec![0; 5 * SECTOR];
    entry(&mut mbr, 0, 0x83, 1, 100);
    entry(&mut mbr, 1, 0x0F, 2, 5000);
    entry(&mut mbr[2 * SECTOR..], 0, 0x83, 10, 50);
    entry(&mut mbr[2 * SECTOR..], 1, 0x05, 1, 100);
    entry(&mut mbr[3 * SECTOR..], 0, 0x82, 70, 60);
    let mut gpt = vec![0; 4 * SECTOR];
    entry(&mut gpt, 0, 0xEE, 1, 1000);
    let back = gpt_parts(&mut gpt);
    let both = [gpt.as_slice(), &back].concat();
    // A primary header that is no more, and the copy at the end.
    let mut lost = both.clone();
    lost[SECTOR] = 0;
    let mut large = vec![0; 4096 * 3];
    entry(&mut large, 0, 0xEE, 1, 1000);
    let header = gpt_header(1, 5, 2, 4096, &mut large[8192..]);
    large[4096..4096 + header.len()].copy_from_slice(&header);
    vec![
        seed("partition", "mbr", input(100, 0, &mbr)),
        seed("partition", "gpt", input(10, 2, &both)),
        seed("partition", "gpt-copy", input(10, 2, &lost)),
        seed("partition", "gpt-4k", input(20, 0, &large)),
    ]
}

/// A primary header with its array in sectors 1 and 2, and what lies in the last two sectors. The disk has as many as ten
/// steps of zeros make it.
fn gpt_parts(front: &mut [u8]) -> Vec<u8> {
    let last = 10 * 128 + 5;
    let header = gpt_header(1, last, 2, SECTOR, &mut front[2 * SECTOR..]);
    front[SECTOR..SECTOR + header.len()].copy_from_slice(&header);
    let mut back = vec![0; 2 * SECTOR];
    let (array, own) = back.split_at_mut(SECTOR);
    let header = gpt_header(last, 1, last - 1, SECTOR, array);
    own[..header.len()].copy_from_slice(&header);
    back
}

/// A header of four entries, two of them used, which are written to `array`.
fn gpt_header(own: u64, other: u64, array_at: u64, sector_bytes: usize, array: &mut [u8]) -> [u8; 92] {
    for (number, entry) in (0_u8..2).zip(array.chunks_mut(128)) {
        entry[..32].fill(0xA0 + number);
        let first = u64::from(number) * 40 + 20;
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&(first + 19).to_le_bytes());
        entry[56..62].copy_from_slice(&[b'o', 0, b's', 0, b'0' + number, 0]);
    }
    debug_assert!(array.len() >= 4 * 128 && sector_bytes >= 92);
    let mut header = [0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..16].copy_from_slice(&[0, 0, 1, 0, 92, 0, 0, 0]);
    for (at, number) in [(24, own), (32, other), (40, 10), (48, 1000), (72, array_at), (80, 128 << 32 | 4)] {
        header[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    header[88..].copy_from_slice(&crc32(&array[..4 * 128]).to_le_bytes());
    let sum = crc32(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    header
}

/// Volumes with what leads to their label.
fn of_volumes() -> Vec<Seed> {
    let input = |name: &str, pieces: &[(u32, &[u8])]| {
        // A MiB, so that a superblock of RAID has its place near the end.
        let mut bytes = 256_u16.to_le_bytes().to_vec();
        for (at, piece) in pieces {
            let (sector, within) = (u16::try_from(at / 512).expect("near"), u16::try_from(at % 512).expect("small"));
            let length = u8::try_from(piece.len() - 1).expect("short");
            bytes.extend([&sector.to_le_bytes()[..], &within.to_le_bytes(), &[length], piece].concat());
        }
        seed("probe", name, bytes)
    };
    let label = b"a label of a guest";
    let wide: Vec<u8> = label.iter().flat_map(|letter| [*letter, 0]).collect();
    let magic: &[u8] = b"\xfc\x4e\x2b\xa9\x01\0\0\0";
    // Sectors of 512 bytes, clusters of one; the root directory behind a reserved sector and one table of one sector.
    let fat = [&b"\xeb\x3c\x90mkfs.fat\0\x02\x01\x01\0\x01"[..], &[16, 0, 0, 4, 0xF8, 1, 0]].concat();
    // Clusters of a sector, the master file table in the fourth, records of a KiB: the label's in sector 10.
    let ntfs = [&b"\xeb\x52\x90NTFS    \0\x02\x01"[..], &[0; 34], &4_u64.to_le_bytes(), &[0; 8], &[0xF6]].concat();
    let record = [&b"FILE"[..], &[48, 0, 3, 0], &[0; 12], &[56, 0]].concat();
    let name =
        [&0x60_u32.to_le_bytes()[..], &64_u32.to_le_bytes(), &[0; 8], &[36, 0, 0, 0, 24, 0, 0, 0], &wide].concat();
    // The first cluster in sector 8, the root directory in the one behind it, cluster 3.
    let exfat = [&[8, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0][..], &[1, 2, 3, 4, 0, 0, 0, 0, 9, 0]].concat();
    let exfat_label = [&[0x83, 11][..], &wide[..22]].concat();
    vec![
        input("swap", &[(1024, &[1]), (1036, &[7; 16]), (1052, label), (4086, b"SWAPSPACE2")]),
        input("fat", &[(0, &fat), (0x27, &[1, 2, 3, 4]), (0x36, b"FAT12"), (1024, b"A LABEL    \x08")]),
        input("ntfs", &[(0, &ntfs), (72, &[9; 8]), (5120, &record), (5120 + 56, &name)]),
        input("exfat", &[(3, b"EXFAT   "), (88, &exfat), (4096 + 512, &exfat_label)]),
        input("luks", &[(0, b"LUKS\xba\xbe\0\x02"), (24, label), (168, b"0123-4567")]),
        input("lvm", &[(512, b"LABELONE"), (532, &[32, 0, 0, 0]), (536, b"LVM2 001"), (544, &[b'x'; 32])]),
        input("btrfs", &[(0x1_0020, &[7; 16]), (0x1_0040, b"_BHRfS_M"), (0x1_012B, label)]),
        input("f2fs", &[(1024, b"\x10\x20\xf5\xf2"), (1132, &[7; 16]), (1148, &wide)]),
        input("raid", &[(4096, magic), (4112, &[7; 16]), (4128, label)]),
        input("raid-at-the-end", &[((1 << 20) - 8192, magic), ((1 << 20) - 8176, &[7; 16])]),
    ]
}

/// Guests of two distributions, and one whose links lead everywhere.
fn of_guests() -> Vec<Seed> {
    let input = |name: &str, nodes: &[(&str, u8, &str)]| {
        let node = |(path, kind, content): &(&str, u8, &str)| {
            let number = PATHS.iter().position(|known| known == path).expect("a path that is looked at");
            let length = u16::try_from(content.len()).expect("short").to_le_bytes();
            [&[u8::try_from(number).expect("few"), *kind], &length[..], content.as_bytes()].concat()
        };
        seed("facts", name, nodes.iter().flat_map(node).collect::<Vec<u8>>())
    };
    let (file, link, directory) = (0, 1, 2);
    let grub = "if [ \"${next_entry}\" ] ; then\nset default=\"${next_entry}\"\nelse\nset default=\"${saved_entry}\"\nfi\n\
        menuentry 'A' $menuentry_id_option 'a' {\n\tlinux /vmlinuz-6.1.0-18 ro\n}\nsubmenu 'B' {\n\
        menuentry 'C' $menuentry_id_option 'c' {\n\tlinux /vmlinuz-6.1.0-9\n}\n}\n";
    vec![
        input(
            "debian",
            &[
                ("usr/lib/os-release", file, "PRETTY_NAME=\"Debian \\\"12\\\"\"\nID='debian'\nVERSION_ID=12 # x\n"),
                ("etc/os-release", link, "../usr/lib/os-release"),
                ("etc/hostname", file, "# name\nweb-01\n"),
                (
                    "etc/fstab",
                    file,
                    "LABEL=root / ext4 x 0 1\nLABEL=other /srv/my\\040data ext4\n/dev/vg/root /boot xfs\n",
                ),
                ("etc/localtime", link, "/usr/share/zoneinfo/Etc/UTC"),
                ("boot/grub/grub.cfg", file, grub),
                ("boot/grub/grubenv", file, "saved_entry=b>c\n####"),
                ("boot/vmlinuz-6.1.0-18", file, ""),
                ("boot/vmlinuz-6.1.0-9", file, ""),
                ("usr/bin/dash", file, "\x7fELF\x02\x01aaaaaaaaaaaa\x3e\0"),
                ("bin", link, "usr/bin"),
            ],
        ),
        input(
            "rocky",
            &[
                ("etc/redhat-release", file, "Rocky Linux release 9.3\n"),
                ("etc/sysconfig/network", file, "HOSTNAME=db\n"),
                ("bin/sh", link, "dash"),
                ("boot/grub/grub.cfg", file, "set default=\"${saved_entry}\"\nblscfg\n"),
                ("boot/loader/entries/a-6.1.0.conf", file, "version 6.1.0\nlinux /vmlinuz-6.1.0\n"),
                ("lib/modules/6.1.0/kernel", directory, ""),
            ],
        ),
        input(
            "loops",
            &[
                ("etc/debian_version", file, "12.5"),
                ("bin/sh", link, "/lib/../bin/sh"),
                ("etc/os-release", link, "hostname"),
                ("etc/hostname", link, "os-release"),
                ("lib", link, "../../../lib/lib"),
                ("boot", link, "/etc"),
            ],
        ),
    ]
}

fn of_images() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (number, (name, _)) in (0_u8..).zip(BASES) {
        seeds.push(seed("ext", name, [number]));
        // Two changes that hurt little, for their form.
        let changes = [number, 0, 0, 0x40, 1, 9, 9, 1, 0, 0x10, 3, 1, 2, 3, 4];
        seeds.push(seed("ext", format!("{name}-changed"), changes));
    }
    for (number, name) in (0_u8..).zip(XFS_BASES) {
        seeds.push(seed("xfs", name, [number]));
        // In a piece of some inode or record, and with the checksum left wrong.
        let changes = [0, 2, 0x40, 1, 9, 9, 90, 0, 0x10, 3, 1, 2, 3, 4];
        seeds.push(seed("xfs", format!("{name}-changed"), [&[number], changes.as_slice()].concat()));
        seeds.push(seed("xfs", format!("{name}-unfixed"), [&[number | 0x80], &changes[7..]].concat()));
    }
    seeds
}

fn of_groups() -> Vec<Seed> {
    // Changes that hurt little, for their form: of a label, a header, a text, and somewhere behind.
    let changed = |number: u8, piece: u8| [number, piece, 0, 0xF0, 1, 0, 0].to_vec();
    let text = [b"T", hand_made().as_bytes()].concat();
    let mut seeds = vec![seed("lvm", "unchanged", []), seed("lvm", "text", text)];
    seeds.extend([(0, 0), (1, 2), (0, 7), (0, 40), (1, 40)].map(|(number, piece)| {
        seed("lvm", format!("changed-{number}-{piece}"), [changed(number, piece), changed(1 - number, piece)].concat())
    }));
    seeds
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(io::Error::other(format!("{program} {arguments:?}: {said}"))) }
}

/// Makes the images that [`crate::TARGETS`] changes.
///
/// # Errors
/// Where `mke2fs` or `debugfs` is missing or fails, or what `xfs-images.sh` needs.
pub fn write_images() -> io::Result<()> {
    let place = tempfile::tempdir()?;
    write_xfs_images(place.path())?;
    let from = place.path().join("source");
    fill(&from)?;
    let image = place.path().join("image");
    let path = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| io::Error::other("a path in UTF-8"));
    for (name, options) in BASES {
        let _ = std::fs::remove_file(&image);
        let size = if options.contains("fast_commit") { 8 << 20 } else { 4 << 20 };
        std::fs::File::create(&image)?.set_len(if options.contains("-J") { size } else { 512 << 10 })?;
        let mut arguments = vec!["-q", "-F"];
        arguments.extend(options.split(' '));
        let (source, made) = (path(&from)?, path(&image)?);
        arguments.extend(["-d", &source, &made]);
        run("mke2fs", &arguments)?;
        let value = place.path().join("value");
        std::fs::write(&value, noise(6, 300))?;
        run("debugfs", &["-w", "-R", &format!("ea_set -f {} small user.large", path(&value)?), &made])?;
        run("debugfs", &["-w", "-R", "ea_set a user.small value", &made])?;
        if options.contains("-J") {
            log_a_block(place.path(), &made)?;
        }
        if options.contains("fast_commit") {
            commit_fast(&image)?;
        }
        pack(&image, name)?;
    }
    Ok(())
}

/// Keeps an image under a name.
fn pack(image: &Path, name: &str) -> io::Result<()> {
    let target = base_path(name);
    std::fs::create_dir_all(target.parent().ok_or_else(|| io::Error::other("no folder"))?)?;
    std::fs::write(target, zstd::encode_all(std::fs::read(image)?.as_slice(), 19)?)
}

fn write_xfs_images(place: &Path) -> io::Result<()> {
    run(concat!(env!("CARGO_MANIFEST_DIR"), "/xfs-images.sh"), &[&place.to_string_lossy()])?;
    XFS_BASES.iter().try_for_each(|name| pack(&place.join(name), name))
}

/// Two transactions that a replay has to write, and a block that is revoked again.
fn log_a_block(place: &Path, image: &str) -> io::Result<()> {
    let (content, script) = (place.join("content"), place.join("script"));
    std::fs::write(&content, text(200))?;
    let content = content.display();
    std::fs::write(&script, format!("jo\njw -b 3900,3901,3902 {content}\njw -b 3903 {content}\njw -r 3902\njc\n"))?;
    run("debugfs", &["-w", "-f", &script.to_string_lossy(), image])
}

/// Fast commits behind the log of an image, in the blocks that its journal has for them.
fn commit_fast(image: &Path) -> io::Result<()> {
    /// What [`log_a_block`] logs.
    const TRANSACTIONS: u32 = 3;
    let output = Command::new("debugfs").args(["-R", "blocks <8>"]).arg(image).output()?;
    let blocks = String::from_utf8_lossy(&output.stdout).into_owned();
    let blocks: Vec<usize> = blocks.split_whitespace().filter_map(|block| block.parse().ok()).collect();
    let mut bytes = std::fs::read(image)?;
    let superblock = blocks.first().ok_or_else(|| io::Error::other("no journal"))? * 1024;
    let field = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| bytes[superblock + at + byte]));
    let (end, reserved, sequence) = (field(0x10), field(0x54), field(0x18));
    let at = blocks[(end - reserved + 1) as usize] * 1024;
    let area = fast_commits(sequence + TRANSACTIONS, 2, 40, 60, 3000);
    bytes[at..at + area.len()].copy_from_slice(&area);
    // The journal's own feature, which a mount sets.
    bytes[superblock + 0x2B] |= 0x20;
    std::fs::write(image, bytes)
}

/// A little of everything that the reader decodes.
fn fill(root: &Path) -> io::Result<()> {
    std::fs::create_dir_all(root.join("a/b"))?;
    std::fs::create_dir(root.join("many"))?;
    for number in 0..25 {
        std::fs::write(root.join(format!("many/quite-a-long-name-to-fill-blocks-{number:030}")), b"x")?;
    }
    std::fs::write(root.join("a/b/large"), text(1500))?;
    std::fs::write(root.join("small"), noise(5, 130))?;
    // Each piece is an extent of its own: more than an inode has room for.
    let sparse = std::fs::File::create(root.join("a/sparse"))?;
    for piece in 0..20 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &text(20)[..500], piece * 8192)?;
    }
    std::os::unix::fs::symlink("x".repeat(200), root.join("link"))?;
    std::os::unix::fs::symlink("a/b", root.join("short-link"))?;
    Ok(())
}
