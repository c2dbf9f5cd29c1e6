//! Test vectors: what follows from known secrets, kept in `fixtures/vectors/v1.json`, so that the format can't drift in
//! silence. `tests/second_reader/check_vectors.py` computes every one of them again after FORMAT.md alone.
//!
//! The file holds objects that were sealed once under known secrets, and for each step of opening them what was derived,
//! authenticated and opened on the way: every key with its context and material, every sealed thing with its nonce and its
//! associated data. With `ICECORE_WRITE_VECTORS` set, the test makes the file anew.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::keys::{EpochKeys, RoleKeys, VaultKeys, cipher, open, open_inventory, seal_inventory};
use super::slot::{Credential, ExternalKey, PasswordCost, Wish, open_any, update_key, wrap};
use super::{IdKind, Secret, SegmentSeal};
use crate::error::Result;
use crate::format::catalog_entry::{Change, Consistency, Entry, PointChanged, PointMade};
use crate::format::header::Header;
use crate::format::inventory::Inventory;
use crate::format::key_slot::{KeySlot, Role};
use crate::format::segment::{
    Encoding, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordType, TableEntry, Trailer,
};
use crate::format::vault_event::{Event, VaultEvent};
use crate::format::{Id, TAG_BYTES, hex};
use crate::sync::Arc;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/vectors/v1.json");

thread_local! {
    /// What this thread computed since a step began; `None` between steps.
    static SEEN: RefCell<Option<Vec<Value>>> = const { RefCell::new(None) };
}

fn see(event: impl FnOnce() -> Value) {
    SEEN.with_borrow_mut(|seen| {
        if let Some(seen) = seen {
            seen.push(event());
        }
    });
}

/// A key was derived.
pub(super) fn derived(context: &str, material: &[&[u8]], key: &[u8]) {
    see(|| json!({"derived": context, "material": hex(&material.concat()), "key": hex(key)}));
}

/// Something was authenticated or named by a keyed hash.
pub(super) fn keyed(key: &[u8], message: &[u8], hash: &[u8]) {
    see(|| json!({"keyed": hex(message), "key": hex(key), "hash": hex(hash)}));
}

/// Something sealed was opened.
pub(super) fn opened(nonce: &[u8], bound: &[u8], sealed: &[u8], plain: &[u8]) {
    see(|| json!({"opened": hex(plain), "nonce": hex(nonce), "bound": hex(bound), "sealed": hex(sealed)}));
}

/// A message was opened with the private half of a pair.
pub(super) fn received(private: &[u8], encapsulated: &[u8], info: &[u8], bound: &[u8], sealed: &[u8], plain: &[u8]) {
    see(|| {
        json!({
            "received": hex(plain), "private": hex(private), "encapsulated": hex(encapsulated), "info": hex(info),
            "bound": hex(bound), "sealed": hex(sealed),
        })
    });
}

/// An index tag was made.
pub(super) fn tagged(key: &[u8], id: &[u8], tag: &[u8]) {
    see(|| json!({"tag": hex(tag), "key": hex(key), "id": hex(id)}));
}

/// A signature was checked.
pub(super) fn signed(key: &[u8], message: &[u8], signature: &[u8]) {
    see(|| json!({"signed": hex(message), "key": hex(key), "signature": hex(signature)}));
}

const VAULT: Id = [0x11; 16];
const PASSWORD: &[u8] = b"correct horse";
const COST: PasswordCost = PasswordCost { passes: 1, memory_kib: 8, lanes: 1 };

/// Whoever keeps keys by turning their bits over.
struct Over;

impl ExternalKey for Over {
    fn wrap(&self, _: &Id, _: &[u8; 8], key: &[u8; 32]) -> Result<Vec<u8>> {
        Ok(key.map(|byte| !byte).to_vec())
    }

    fn unwrap(&self, _: &Id, _: &[u8; 8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        Ok(Zeroizing::new(std::array::from_fn(|at| !wrapped[at])))
    }
}

fn credentials() -> [(&'static str, Credential); 4] {
    [
        ("password", Credential::password(PASSWORD)),
        ("key-file", Credential::key_file([0x42; 40]).expect("long enough")),
        ("recovery", Credential::Recovery(Secret::from([0x43; 32]))),
        ("external", Credential::External(Arc::new(Over))),
    ]
}

/// The secrets of two epochs; the second began with the inventory of that hash.
fn secrets(inventory: [u8; 32]) -> RoleKeys {
    let epoch = |number: u8, inventory| EpochKeys::known(number * 16, inventory);
    RoleKeys { id: Secret::from([1; 32]), epochs: vec![epoch(1, [0; 32]), epoch(2, inventory)] }
}

fn header() -> Header {
    Header {
        vault: VAULT,
        created_unix_seconds: 1_764_000_000,
        chunk_size_log2: 16,
        level: 1,
        parity_percent: 5,
        segment_bytes: 64 << 20,
        public: secrets([0; 32]).public(),
    }
}

fn point() -> PointMade {
    PointMade {
        predecessor: [0; 32],
        consistency: Consistency::Crash,
        point: [0x22; 16],
        time_unix_seconds: 1_764_000_000,
        recorded_unix_seconds: 1_764_000_001,
        segment: [0x33; 16],
        offset: 192,
        manifest: [0x44; 32],
        machine: "web01".to_owned(),
    }
}

fn change() -> PointChanged {
    PointChanged {
        predecessor: [0x99; 32],
        change: Change::Forgotten { until_unix_seconds: 1_765_000_000 },
        point: [0x22; 16],
        recorded_unix_seconds: 1_764_000_003,
        machine: "web01".to_owned(),
        reason: "older than a year".to_owned(),
    }
}

/// A segment with one record and its table.
fn segment(keys: &VaultKeys, kind: RecordType, ids: IdKind) -> Vec<u8> {
    let plain = b"one record of a segment, which is long enough to be one";
    let (seal, mut bytes) = SegmentSeal::begin(keys, kind == RecordType::Chunk).expect("a segment");
    let id = keys.record_id(ids, plain);
    let mut record = vec![0; RECORD_HEADER_BYTES];
    record.extend_from_slice(plain);
    record.extend_from_slice(&[0; TAG_BYTES]);
    let plain_bytes = plain.len() as u32;
    let header = seal.seal_record(0, kind, Encoding::Plain, plain_bytes, &id, &mut record);
    bytes.append(&mut record);
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    let trailer = Trailer::new(*seal.segment(), 1, bytes.len() as u64);
    let entry = TableEntry { id, offset: HEADER_BYTES as u64, stored_bytes: header.stored_bytes, plain_bytes, kind };
    bytes.extend(seal.seal_table(&trailer, &[entry]));
    bytes.extend(trailer.encode([0; 32]));
    bytes
}

/// Everything that can be sealed, sealed once.
fn make() -> BTreeMap<String, Vec<u8>> {
    let mut objects = BTreeMap::new();
    let mut put = |name: &str, bytes: Vec<u8>| drop(objects.insert(name.to_owned(), bytes));
    let first = VaultKeys::new(VAULT, Role::Admin, secrets([0; 32]).up_to(0));
    let header = header();
    let encoded = header.encode(first.authenticate_header(&header)).to_vec();
    put("entry", first.seal_entry(first.chain_of("web01"), 0, &point()).expect("an entry"));
    let inventory = Inventory {
        header: *blake3::hash(&encoded).as_bytes(),
        segments: vec![[0x33; 16]],
        chains: vec![(first.chain_of("web01"), vec![(0, [0x55; 32])])],
    };
    put("header", encoded);
    let meta = secrets([0; 32]).epochs[1].meta.clone();
    let inventory = seal_inventory(VAULT, 1, &meta, &inventory).expect("an inventory");
    let all = secrets(*blake3::hash(&inventory).as_bytes());
    put("inventory", inventory);
    let keys = VaultKeys::new(VAULT, Role::Admin, all.clone());
    let event = Event::EpochBegan { epoch: 1, inventory: *keys.inventory(), rewrites: false };
    let event = VaultEvent { predecessor: [0; 32], recorded_unix_seconds: 1_764_000_002, event };
    put("event", keys.seal_event(0, &event).expect("an event"));
    put("change", keys.seal_change(keys.chain_of("web01"), 1, &change()).expect("an entry"));
    put("data segment", segment(&keys, RecordType::Chunk, IdKind::Chunk));
    put("meta segment", segment(&keys, RecordType::MapNode, IdKind::MapNode));
    for (name, credential) in &credentials() {
        for role in [Role::Backup, Role::Restore, Role::Admin] {
            let wish = Wish {
                role,
                credential,
                cost: COST,
                label: "known",
                now_unix_seconds: 1_764_000_000,
                epoch_unix_seconds: 1_764_000_002,
            };
            let slot = wrap(VAULT, &all, &wish).expect("a slot");
            put(&format!("slot {name} {}", role.name()), slot.encode());
        }
    }
    objects
}

/// Opens everything as readers do; what was computed on the way, step by step.
fn steps(objects: &BTreeMap<String, Vec<u8>>) -> Vec<Value> {
    let mut steps = Vec::new();
    let mut step = |what: &str, work: &mut dyn FnMut()| {
        SEEN.set(Some(Vec::new()));
        work();
        let seen = SEEN.take().expect("a step");
        assert!(!seen.is_empty(), "{what}: nothing was computed");
        steps.push(json!({"step": what, "computed": seen}));
    };
    let all = secrets(*blake3::hash(&objects["inventory"]).as_bytes());
    let keys = VaultKeys::new(VAULT, Role::Admin, all.clone());
    let chain = keys.chain_of("web01");
    step("keys", &mut || drop(VaultKeys::new(VAULT, Role::Admin, all.clone())));
    step("header", &mut || {
        let decoded = Header::decode(&objects["header"]).expect("a header");
        keys.check_header("header", &decoded).expect("authentic");
    });
    step("names and ids", &mut || {
        keys.chain_of("web01");
        keys.own_chain();
        let kinds = [IdKind::Chunk, IdKind::MapNode, IdKind::Manifest];
        assert_eq!(kinds.map(|kind| keys.record_id(kind, b"plain")).len(), 3);
        keys.index_tag(&[0x66; 32]);
        keys.authenticate_run(&[0x77; 32], &[0x88; 32]);
    });
    step("entry", &mut || {
        assert_eq!(keys.open_entry(&chain, 0, &objects["entry"]).expect("an entry"), Entry::Made(point()))
    });
    step("change", &mut || {
        assert_eq!(keys.open_entry(&chain, 1, &objects["change"]).expect("an entry"), Entry::Changed(change()));
    });
    step("signing pair", &mut || assert!(all.epochs.iter().all(EpochKeys::has_both_halves)));
    step("event", &mut || assert_eq!(keys.open_event(0, &objects["event"]).expect("an event").0, 1));
    step("inventory", &mut || {
        let inventory = open_inventory(&keys, "inventory", &objects["inventory"]).expect("an inventory");
        assert!(inventory.has_segment(&[0x33; 16]));
    });
    for name in ["data segment", "meta segment"] {
        step(name, &mut || open_segment(&keys, &objects[name]));
    }
    for (name, credential) in &credentials() {
        for role in [Role::Backup, Role::Restore, Role::Admin] {
            let name = format!("slot {name} {}", role.name());
            let slot = KeySlot::decode(&objects[&name]).expect("a slot");
            step(&name, &mut || {
                let slots = [(name.clone(), slot.clone())];
                let opened = open_any(&slots, &VAULT, credential, |info, keys| Ok((info, keys))).expect("opened");
                assert_eq!((opened.0.role, opened.1.epoch()), (role, 1));
                assert!(update_key(&all, &slot).is_some());
            });
        }
    }
    steps
}

fn open_segment(keys: &VaultKeys, bytes: &[u8]) {
    let (front, rest) = bytes.split_first_chunk::<HEADER_BYTES>().expect("a header");
    let segment: Id = front[32..48].try_into().expect("an id");
    let seal = SegmentSeal::open(keys, &segment, front).expect("authentic");
    let (record, rest) = rest.split_first_chunk::<RECORD_HEADER_BYTES>().expect("a record");
    let header = RecordHeader::decode(record).expect("a record");
    let id = seal.open_id(&header, 192).expect("its id");
    let (payload, rest) = rest.split_at(header.stored_bytes as usize);
    let plain = seal.open_payload(&header, &id, 192, &mut payload.to_vec()).map(<[u8]>::to_vec);
    assert!(plain.expect("its payload").starts_with(b"one record"));
    let table_at = bytes.len() - rest.len() + payload.len().next_multiple_of(16) - payload.len();
    let trailer = Trailer::new(segment, 1, table_at as u64);
    let table = bytes[table_at..][..trailer.sealed_table_bytes()].to_vec();
    assert_eq!(seal.open_table(&trailer, table).expect("its table")[0].id, id);
}

/// Gives each thing that was opened the key that opens it, which is one of those that were derived or received.
fn with_keys(steps: &mut [Value]) {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    for step in steps {
        let computed = step["computed"].as_array_mut().expect("what was computed");
        let mut keys: Vec<String> = computed.iter().map(|event| text(event, "key")).collect();
        keys.extend(computed.iter().map(|event| text(event, "received")));
        for event in computed.iter_mut().filter(|event| event.get("opened").is_some()) {
            let [nonce, bound, sealed] = ["nonce", "bound", "sealed"].map(|name| bytes(&text(event, name)));
            let nonce: [u8; 12] = nonce.try_into().expect("a nonce");
            let fits = |key: &&String| {
                let Ok(key) = <[u8; 32]>::try_from(bytes(key)) else { return false };
                open(&cipher(&Secret::from(key)), nonce, &bound, &mut sealed.clone())
            };
            event["key"] = json!(keys.iter().find(fits).expect("a key that was derived before"));
        }
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Every context that a source file of this directory has.
fn contexts() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/seal");
    let files = std::fs::read_dir(folder).expect("sources").map(|file| file.expect("a file").path());
    let texts =
        files.filter(|path| !path.ends_with("vectors.rs")).map(|path| std::fs::read_to_string(path).expect("text"));
    let contexts = texts.flat_map(|text| {
        let parts: Vec<String> =
            text.split('"').filter(|part| part.starts_with("icecore 1 ")).map(str::to_owned).collect();
        parts
    });
    contexts.collect()
}

#[test]
fn what_follows_from_known_secrets_stays_the_same() {
    if std::env::var_os("ICECORE_WRITE_VECTORS").is_some() {
        let objects = make();
        let mut steps = steps(&objects);
        with_keys(&mut steps);
        let objects: BTreeMap<&String, String> = objects.iter().map(|(name, bytes)| (name, hex(bytes))).collect();
        let text = serde_json::to_string_pretty(&json!({"objects": objects, "steps": steps})).expect("JSON");
        std::fs::write(PATH, text + "\n").expect("written");
    }
    let text = std::fs::read_to_string(PATH).expect("the vectors");
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    let objects = kept["objects"].as_object().expect("objects");
    let objects =
        objects.iter().map(|(name, digits)| (name.clone(), bytes(digits.as_str().expect("digits")))).collect();
    let mut steps = steps(&objects);
    with_keys(&mut steps);
    let kept = kept["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), kept.len());
    for (now, kept) in steps.iter().zip(kept) {
        assert_eq!(now, kept, "{}", kept["step"]);
    }
    // Nothing is derived that no vector has.
    let used: BTreeSet<String> =
        text.split('"').filter(|part| part.starts_with("icecore 1 ")).map(str::to_owned).collect();
    let infos = ["icecore 1 content key", "icecore 1 key slot"].map(str::to_owned);
    assert_eq!(used.union(&BTreeSet::from(infos)).cloned().collect::<BTreeSet<_>>(), contexts());
}
