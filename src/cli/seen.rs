//! What this user's account has seen of vaults: how far their chains had come.
//!
//! A vault can't tell by itself that it is an older copy. So each opening compares it with a small file of the user's, warns of
//! what went back, and notes what came. The file is no part of the vault: without it, or where it can't be written, all
//! works, and nothing is noticed. It holds where the vault is, and the chains' ids, numbers and hashes, no names.
//!
//! A copy of a vault that is kept elsewhere, and brought up to date now and then, is no vault that went back: so each place
//! where a vault was found has a file of its own. A vault that is found at a place for the first time is compared with what was
//! seen at places where it is no more: it may have been moved.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use icecore::Vault;
use icecore::format::header;
use icecore::point::{ChainHead, Heads, MOST_HEADS_BYTES, Setback};

use super::{human, output};

/// The first line of a file, before the heads: where the vault is.
const PLACE: &str = "place ";

/// Digits of a file's name that tell the places of one vault apart.
const PLACE_DIGITS: usize = 16;

/// Compares a vault that was just opened, or written to, with what was seen of it, and notes how far it is now.
///
/// What can't be compared because it is damaged is told where `tells_damage`: not by a verb that tells all damage itself.
pub fn look(vault: &Vault, as_json: bool, tells_damage: bool) {
    let now = vault.heads();
    let Some(file) = SeenFile::of(vault, &now.vault) else { return };
    let seen = file.seen();
    // A chain that is where it was seen went nowhere, and need not be asked of the medium. Heads of the same vault can always
    // be compared.
    let moved = seen.as_ref().map(|seen| seen.besides(&now));
    let setbacks = moved.and_then(|moved| vault.setbacks(&moved).ok()).unwrap_or_default();
    for setback in &setbacks {
        let same = now.chains.iter().find(|head| head.is_of_chain(&setback.head));
        let mut told = setback.clone();
        told.head.machine = same.and_then(|head| head.machine.clone());
        let question = if setback.is_certain() {
            let path = human::escaped(file.path.as_os_str().as_encoded_bytes());
            format!("is this an older copy of the vault, or did somebody cut it off? If it was you, remove {path}")
        } else {
            "it may be damaged, or hide that the vault went back; run `icecore verify`".to_owned()
        };
        if tells_damage || setback.is_certain() {
            output::notice(&format!("{told}: {question}"), as_json);
        }
    }
    let noted = merged(&now, seen.as_ref(), &setbacks);
    if read(&file.path).map(|(_, seen)| seen).as_ref() != Some(&noted) {
        // Two processes that do this at once leave what one of them saw: the other's is seen again at the next opening.
        let _ = file.write(&noted);
    }
}

/// How far a vault's chains had come, as this user has seen it.
pub fn known(vault: &Vault) -> Option<Heads> {
    SeenFile::of(vault, &vault.heads().vault)?.seen()
}

/// What is to be noted: how far each chain is now, and of those that went back or are gone, how far they were.
fn merged(now: &Heads, seen: Option<&Heads>, went_back: &[Setback]) -> Heads {
    let mut chains: BTreeMap<String, ChainHead> =
        now.chains.iter().map(|head| (head.chain_hex(), head.clone())).collect();
    for head in seen.iter().flat_map(|seen| &seen.chains) {
        let stays = went_back.iter().any(|setback| setback.head.is_of_chain(head));
        let known = chains.entry(head.chain_hex()).or_insert_with(|| head.clone());
        // What was seen may also be more than this opening read, where somebody appended meanwhile.
        if stays || known.entries < head.entries {
            *known = head.clone();
        }
    }
    let nameless = |mut head: ChainHead| {
        head.machine = None;
        head
    };
    let chains = chains.into_values().map(nameless).collect();
    Heads { vault: now.vault.clone(), chains }
}

/// The file for a vault at a place, in the user's directory for state (XDG Base Directory Specification).
struct SeenFile {
    path: PathBuf,
    vault: String,
    place: PathBuf,
}

impl SeenFile {
    fn of(vault: &Vault, id: &str) -> Option<Self> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
        let place = fs::canonicalize(vault.location()).ok()?;
        let digits = blake3::hash(place.as_os_str().as_encoded_bytes()).to_hex();
        let path = state.join("icecore").join(format!("{id}-{}.heads", &digits[..PLACE_DIGITS]));
        // Root may have another user's home in its environment, where it must not leave directories of its own.
        let nearest = path.ancestors().find_map(|path| path.metadata().ok())?;
        let is_own = nearest.uid() == rustix::process::geteuid().as_raw();
        is_own.then(|| Self { path, vault: id.to_owned(), place })
    }

    /// What was seen of the vault here or, where it was never seen here, at places where it is no more.
    fn seen(&self) -> Option<Heads> {
        let is_ours = |seen: &Heads| seen.vault == self.vault;
        if let Some((_, seen)) = read(&self.path) {
            return Some(seen).filter(is_ours);
        }
        let prefix = format!("{}-", self.vault);
        let is_of_vault =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
        let files = fs::read_dir(self.path.parent()?).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let others = files.filter(is_of_vault).filter_map(|path| read(&path));
        let left = others.filter(|(place, seen)| is_ours(seen) && !place.join(header::OBJECT).exists());
        left.map(|(_, seen)| seen).reduce(|one, other| merged(&one, Some(&other), &[]))
    }

    /// Under a name of its own, then over the old one: whoever reads finds one or the other.
    fn write(&self, heads: &Heads) -> io::Result<()> {
        let folder = self.path.parent().ok_or(io::ErrorKind::NotFound)?;
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let new = self.path.with_extension(format!("{}.new", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let text = format!("{PLACE}{}\n{}", human::escaped(self.place.as_os_str().as_encoded_bytes()), heads.encode());
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        let renamed = written.and_then(|()| fs::rename(&new, &self.path));
        if renamed.is_err() {
            let _ = fs::remove_file(&new);
        }
        renamed
    }
}

/// A place, and what was seen there.
fn read(path: &Path) -> Option<(PathBuf, Heads)> {
    let mut text = String::new();
    File::open(path).ok()?.take(MOST_HEADS_BYTES).read_to_string(&mut text).ok()?;
    let (place, heads) = text.strip_prefix(PLACE)?.split_once('\n')?;
    Some((place.into(), Heads::decode(heads).ok()?))
}
