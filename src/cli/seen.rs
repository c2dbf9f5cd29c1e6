//! What this user's account has seen of vaults: how far their chains had come.
//!
//! A vault can't tell by itself that it is an older copy. So each opening compares it with a small file of the user's, warns of
//! what went back, and notes what came. The file is no part of the vault: without it, or where it can't be written, all
//! works, and nothing is noticed. It holds the chains' ids, numbers and hashes, no names.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use icecore::Vault;
use icecore::point::{ChainHead, Heads, MOST_HEADS_BYTES, Setback};

use super::{human, output};

/// Compares a vault that was just opened, or written to, with what was seen of it, and notes how far it is now.
///
/// What can't be compared because it is damaged is told where `tells_damage`: not by a verb that tells all damage itself.
pub fn look(vault: &Vault, as_json: bool, tells_damage: bool) {
    let now = vault.heads();
    let Some(path) = file(&now.vault) else { return };
    let seen = read(&path).filter(|seen| seen.vault == now.vault);
    // A chain that is where it was seen went nowhere, and need not be asked of the medium. Heads of the same vault can always
    // be compared.
    let moved = seen.as_ref().map(|seen| seen.besides(&now));
    let setbacks = moved.and_then(|moved| vault.setbacks(&moved).ok()).unwrap_or_default();
    for setback in &setbacks {
        let same = now.chains.iter().find(|head| head.is_of_chain(&setback.head));
        let mut told = setback.clone();
        told.head.machine = same.and_then(|head| head.machine.clone());
        let question = if setback.is_certain() {
            let path = human::escaped(path.as_os_str().as_encoded_bytes());
            format!("is this an older copy of the vault, or did somebody cut it off? If it was you, remove {path}")
        } else {
            "it may be damaged, or hide that the vault went back; run `icecore verify`".to_owned()
        };
        if tells_damage || setback.is_certain() {
            output::notice(&format!("{told}: {question}"), as_json);
        }
    }
    let noted = merged(&now, seen.as_ref(), &setbacks);
    if seen.as_ref() != Some(&noted) {
        // Two processes that do this at once leave what one of them saw: the other's is seen again at the next opening.
        let _ = write(&path, &noted);
    }
}

/// How far a vault's chains had come, as this user has seen it.
pub fn known(vault: &Vault) -> Option<Heads> {
    let id = vault.heads().vault;
    read(&file(&id)?).filter(|seen| seen.vault == id)
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

/// The file for a vault, in the user's directory for state (XDG Base Directory Specification).
fn file(vault: &str) -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let path = state.join("icecore").join(format!("{vault}.heads"));
    // Root may have another user's home in its environment, where it must not leave directories of its own.
    let nearest = path.ancestors().find_map(|path| path.metadata().ok())?;
    (nearest.uid() == rustix::process::geteuid().as_raw()).then_some(path)
}

fn read(path: &Path) -> Option<Heads> {
    let mut text = String::new();
    File::open(path).ok()?.take(MOST_HEADS_BYTES).read_to_string(&mut text).ok()?;
    Heads::decode(&text).ok()
}

/// Under a name of its own, then over the old one: whoever reads finds one or the other.
fn write(path: &Path, heads: &Heads) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let written = file.write_all(heads.encode().as_bytes()).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&new, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&new);
    }
    renamed
}
