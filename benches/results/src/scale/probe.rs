//! One thing done to a vault by a process of its own, so that its time and peak memory are its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use icecore::Vault;
use icecore::backup::{BackupRequest, Progress};
use icecore::format::header::{self, Header};
use icecore::format::key_slot::{self, KeySlot, Role};
use icecore::format::segment::RecordType;
use icecore::media::{DirectoryMedia, Media, ReadMode};
use icecore::seal::{Credential, PasswordCost, RoleKeys, VaultKeys, Wish, open_any, wrap};
use icecore::source::Source;
use icecore::store::Store;
use icecore::vault::{GcOptions, GcProgress, SoftDelete};
use icecore_fixtures::Rng;
use icecore_fuse::ReadOnlyTree;
use serde::{Deserialize, Serialize};

use super::generator::{self, CHUNK_BYTES, Synthetic};
use crate::engine;

/// Chunks that are looked up.
const LOOKUPS: u64 = 1_000_000;

/// Chunks of the small disk.
const SMALL_DISK: u64 = 16 << 10;

/// The subcommand that does it.
pub const SUBCOMMAND: &str = "probe";

/// What to do.
#[derive(Args, Debug)]
pub struct Options {
    /// The vault
    #[arg(long)]
    vault: PathBuf,
    /// Chunks of each of its machines' disks
    #[arg(long, default_value_t = 1)]
    chunks: u64,
    /// What to do with it
    what: What,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Nothing: what the process costs by itself.
    Nothing,
    /// Open it.
    Open,
    /// Find out with a password, at the default costs, that it opens nothing: what a password costs.
    Password,
    /// Open it and list all points.
    Points,
    /// Open it and read a page of a disk through the tree.
    Page,
    /// Open it and get ready to write: the time is the second's alone.
    Authenticate,
    /// Look up chunks that are there.
    Hits,
    /// Look up chunks that are not.
    Misses,
    /// Back up a small disk, of which a part is new.
    Backup,
    /// Back up a disk of which everything is new: the time is a backup's that has work to do.
    LongBackup,
    /// Find out what could be given back, and do nothing.
    Mark,
    /// Forget the older half of all points, for no time at all.
    Forget,
    /// Give back space.
    Collect,
}

/// What came out.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Outcome {
    /// Seconds of the thing itself.
    pub seconds: f64,
    /// Most memory that the process held at a time, mapped files included, in bytes.
    pub peak_bytes: u64,
    /// How much was found: points, chunks, bytes, as the thing has it.
    pub found: u64,
}

/// Lets a process of its own do it.
pub fn run(vault: &Path, chunks: u64, what: What) -> Result<Outcome> {
    let what = what.to_possible_value().context("a value")?.get_name().to_owned();
    let mut command = Command::new(std::env::current_exe()?);
    command.args([SUBCOMMAND, "--chunks", &chunks.to_string(), "--vault"]).arg(vault).arg(&what);
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{what} failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Does it here, and prints what came out.
pub fn probe(options: &Options) -> Result<()> {
    let mut outcome = act(options)?;
    outcome.peak_bytes = peak_bytes()?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn act(options: &Options) -> Result<Outcome> {
    let path = options.vault.as_path();
    let open = || engine::open(path);
    let outcome = |seconds, found| Ok(Outcome { seconds, peak_bytes: 0, found });
    match options.what {
        What::Nothing => outcome(0.0, 0),
        What::Open => {
            let (vault, seconds) = engine::timed(open);
            outcome(seconds, vault?.machines().len() as u64)
        }
        What::Password => {
            let cost = PasswordCost::default();
            let (keys, wrong) = (RoleKeys::generate()?, Credential::password(*b"not this"));
            let right = Credential::password(*b"this");
            let wish = Wish {
                role: Role::Admin,
                credential: &right,
                cost,
                label: "",
                now_unix_seconds: 0,
                epoch_unix_seconds: 0,
            };
            let slots = [("a slot".to_owned(), wrap([0; 16], &keys, &wish)?)];
            let (opened, seconds) = engine::timed(|| open_any(&slots, &[0; 16], &wrong, |_, _| Ok(())));
            ensure!(opened.is_err(), "a wrong password opened");
            outcome(seconds, 0)
        }
        What::Points => {
            let (found, seconds) = engine::timed(|| -> Result<u64> {
                let vault = open()?;
                vault.machines().iter().try_fold(0, |found, machine| Ok(found + vault.points(machine)?.len() as u64))
            });
            outcome(seconds, found?)
        }
        What::Page => {
            let mut page = [0; 4096];
            let (found, seconds) = engine::timed(|| -> Result<usize> {
                let vault = open()?;
                let tree = vault.tree();
                let machine = generator::machine(0);
                let point = vault.point(&machine, "latest")?;
                let node = engine::node(&tree, &[&machine, &point.name, "disks", "os.raw"])?;
                Ok(tree.read(node, options.chunks / 2 * u64::from(CHUNK_BYTES), &mut page)?)
            });
            outcome(seconds, found? as u64)
        }
        What::Authenticate => {
            let store = store(path)?;
            let (done, seconds) = engine::timed(|| store.refresh_for_writing());
            done?;
            outcome(seconds, store.index().size().bytes)
        }
        What::Hits => look_up(path, 0, options.chunks),
        What::Misses => look_up(path, u64::from(u32::MAX), options.chunks),
        What::Backup => {
            let vault = open()?;
            let small = Synthetic::new(0, SMALL_DISK);
            small.change(jiff::Timestamp::now().as_second().unsigned_abs(), 100);
            let request = BackupRequest::new("small").disk("os", small);
            let (report, seconds) = engine::timed(|| vault.backup(&request, &Progress::default()));
            outcome(seconds, report?.added_bytes)
        }
        What::LongBackup => {
            let vault = open()?;
            let disk = Synthetic::new(jiff::Timestamp::now().as_second().unsigned_abs(), LONG_DISK);
            let request = BackupRequest::new("long").disk("os", disk);
            let (report, seconds) = engine::timed(|| vault.backup(&request, &Progress::default()));
            outcome(seconds, report?.added_bytes)
        }
        What::Mark => collect(&open()?, true).and_then(|(found, seconds)| outcome(seconds, found)),
        What::Collect => collect(&open()?, false).and_then(|(found, seconds)| outcome(seconds, found)),
        What::Forget => {
            let vault = open()?;
            let (forgotten, seconds) = engine::timed(|| forget(&vault));
            outcome(seconds, forgotten?)
        }
    }
}

/// Chunks of the disk of which everything is new.
const LONG_DISK: u64 = 1 << 20;

/// Gives back space, or only tells how much; that is what is found.
fn collect(vault: &Vault, dry_run: bool) -> Result<(u64, f64)> {
    let options = GcOptions { dry_run, ..GcOptions::default() };
    let (report, seconds) = engine::timed(|| vault.gc(&options, &GcProgress::default()));
    let report = report?;
    ensure!(report.left.is_empty(), "segments stay that should go");
    Ok((report.freed_bytes(), seconds))
}

/// Forgets the older half of the points of all machines, and returns how many that were.
fn forget(vault: &Vault) -> Result<u64> {
    vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() })?;
    let mut forgotten = 0;
    for machine in vault.machines() {
        let points = vault.points(&machine)?;
        for point in points.iter().take(points.len() / 2) {
            vault.forget(point, "", true)?;
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

/// Looks random chunks of the disk with this seed up in the index.
fn look_up(path: &Path, seed: u64, chunks: u64) -> Result<Outcome> {
    let store = store(path)?;
    let mut random = Rng::labelled(seed, b"look-ups");
    let mut chunk = vec![0; CHUNK_BYTES as usize];
    let disk = Synthetic::new(seed, chunks);
    let mut ids = Vec::with_capacity(LOOKUPS as usize);
    for _ in 0..LOOKUPS {
        disk.read_at(random.below(chunks) * u64::from(CHUNK_BYTES), &mut chunk)?;
        ids.push(store.id_of(RecordType::Chunk, &chunk));
    }
    let look_all_up = || ids.iter().filter(|id| store.locate(id).is_some()).count();
    // Once for the pages.
    look_all_up();
    let (found, seconds) = engine::timed(look_all_up);
    Ok(Outcome { seconds: seconds / LOOKUPS as f64, peak_bytes: 0, found: found as u64 })
}

/// The store alone, as the vault opens it.
fn store(path: &Path) -> Result<Store> {
    let media = Arc::new(DirectoryMedia::new(path, ReadMode::default()));
    let read = |name: &str| -> Result<Vec<u8>> {
        let object = media.open(name)?;
        let mut bytes = vec![0; usize::try_from(object.length())?];
        object.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    };
    let header = Header::decode(&read(header::OBJECT)?).map_err(|error| error.at(header::OBJECT, 0))?.header;
    let slots: Result<Vec<(String, KeySlot)>> = media
        .list(key_slot::FOLDER)?
        .into_iter()
        .map(|name| {
            let name = format!("{}/{name}", key_slot::FOLDER);
            let slot = KeySlot::decode(&read(&name)?).map_err(|error| error.at(&name, 0))?;
            Ok((name, slot))
        })
        .collect();
    let keys = open_any(&slots?, &header.vault, &engine::credential()?, |slot, keys| {
        Ok(VaultKeys::new(header.vault, slot.role, keys))
    })?;
    let keys = Arc::new(keys);
    Ok(Store::open(media, keys, header)?)
}

/// Most memory that this process held so far, in bytes.
fn peak_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.split_whitespace().next().context("no number")?.parse()?;
    Ok(kib * 1024)
}
