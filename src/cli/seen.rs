//! What this user's account has seen of vaults: how far their chains had come.
//!
//! A vault can't tell by itself that it is an older copy. So each opening compares it with a small file of the user's, warns of
//! what went back, and notes what came. The file is no part of the vault: without it, or where it can't be written, all
//! works, and nothing is noticed. It holds the chains' ids, numbers and hashes, no names.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use icecore::Vault;
use icecore::point::{ChainHead, Heads, MOST_HEADS_BYTES};

use super::{human, output};

/// Compares a vault that was just opened with what was seen of it, and notes how far it is now.
pub fn look(vault: &Vault, as_json: bool) {
    let Ok(now) = vault.heads() else { return };
    let Some(path) = file(&now.vault) else { return };
    let seen = read(&path);
    let setbacks = seen.as_ref().and_then(|seen| vault.setbacks(seen).ok()).unwrap_or_default();
    let mut went_back = Vec::new();
    for mut setback in setbacks.into_iter().filter(icecore::point::Setback::is_certain) {
        let same = |head: &&ChainHead| head.chain_hex() == setback.head.chain_hex();
        let machine = now.chains.iter().find(same).and_then(|head| head.machine.clone());
        setback.head.machine = machine;
        output::notice(
            &format!(
                "{setback}: is this an older copy of the vault, or did somebody cut it off? If it was you, remove {}",
                human::escaped(path.as_os_str().as_encoded_bytes())
            ),
            as_json,
        );
        went_back.push(setback.head.chain_hex());
    }
    let noted = merged(&now, seen.as_ref(), &went_back);
    if seen.as_ref() != Some(&noted) {
        // Two processes that do this at once leave what one of them saw: the other's is seen again at the next opening.
        let _ = write(&path, &noted);
    }
}

/// What is to be noted: how far each chain is now, and of those that went back or are gone, how far they were.
fn merged(now: &Heads, seen: Option<&Heads>, went_back: &[String]) -> Heads {
    let before = seen.map(|seen| seen.chains.as_slice()).unwrap_or_default();
    let mut chains: Vec<ChainHead> = now
        .chains
        .iter()
        .filter(|head| !went_back.contains(&head.chain_hex()))
        .cloned()
        .map(|mut head| {
            head.machine = None;
            head
        })
        .collect();
    let known: Vec<String> = chains.iter().map(ChainHead::chain_hex).collect();
    chains.extend(before.iter().filter(|head| !known.contains(&head.chain_hex())).cloned());
    chains.sort_by_key(ChainHead::chain_hex);
    Heads { vault: now.vault.clone(), chains }
}

/// The file for a vault, in the user's directory for state (XDG Base Directory Specification).
fn file(vault: &str) -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("icecore").join(format!("{vault}.heads")))
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
    let renamed = file.write_all(heads.encode().as_bytes()).and_then(|()| fs::rename(&new, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&new);
    }
    renamed
}
