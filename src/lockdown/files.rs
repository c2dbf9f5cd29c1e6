//! Files, sockets and signals: Landlock (Documentation/userspace-api/landlock.rst of the kernel).
//!
//! Each kernel is asked for all that it knows of this list. What an older one does not know (before 5.19 renaming between
//! directories, which it then refuses; before 6.2 truncation; before 6.7 sockets; before 6.12 signals) is no way out either:
//! the list of system calls has none of those.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};

use super::{Kept, Needs};

/// The newest that this list was written for.
const KNOWN: ABI = ABI::V6;

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

pub(super) fn give_up(needs: &Needs<'_>) -> Result<(), Kept> {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    let mut rules = allow(rules, needs.vault, READ)?;
    for path in linked(needs.vault) {
        rules = allow(rules, &path, READ)?;
    }
    if let Some(scratch) = needs.scratch {
        rules = allow(
            rules,
            scratch,
            AccessFs::from_all(KNOWN) & !AccessFs::Execute & !AccessFs::MakeBlock & !AccessFs::MakeChar,
        )?;
    }
    if let Some(device) = needs.device {
        rules = allow(rules, device, make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev}))?;
    }
    match rules.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err(Kept::FilesUnsupported),
        _ => Ok(()),
    }
}

/// A path that is not there needs no leave.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, Kept> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    // Of a file, only what can be done to files.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
    Ok(rules.add_rule(PathBeneath::new(opened, access))?)
}

/// How deep a vault's files lie below it: `catalog/<chain>/<entry>`.
const VAULT_DEPTH: usize = 2;

/// Where links in the vault lead: somebody may have moved its segments, or some of them, to another disk.
fn linked(vault: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    follow(vault, VAULT_DEPTH, &mut found);
    found
}

fn follow(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            found.extend(path.canonicalize());
        }
        // A directory, or what leads to one.
        if depth > 0 && !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            follow(&path, depth - 1, found);
        }
    }
}
