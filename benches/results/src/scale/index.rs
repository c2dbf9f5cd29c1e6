//! What the index of a large vault costs: its size, its look-ups, its loss.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::open::{cell, mb};
use super::probe::What;
use super::{ROUNDS, Vault};
use crate::engine;
use crate::table::number;

/// Sizes of chunks that the index' size is told for, in bytes.
const CHUNK_SIZES: [u64; 3] = [64 << 10, 128 << 10, 256 << 10];

/// The table of the large vault.
pub(super) fn measure(scratch: &Path, vault: &Vault) -> Result<String> {
    let mut out = String::from("\n| the large vault | |\n|---|---:|\n");
    let mut row = |what: &str, value: String| {
        let _ = writeln!(out, "| {what} | {value} |");
    };
    let stats = engine::open(&vault.path)?.stats()?;
    row("segments", number(stats.segments as f64, 0));
    row("segments, MB", number(mb(stats.stored_bytes), 0));
    row("index, runs and MB", format!("{}, {}", stats.index_runs, number(mb(stats.index_bytes), 0)));
    let each = stats.index_bytes as f64 / stats.records as f64;
    row("index, bytes for each record", number(each, 1));
    let tib = |chunk: u64| number(each * (1_u64 << 40) as f64 / chunk as f64 / 1e6, 0);
    row("index, MB for each TiB of different data in chunks of 64, 128, 256 KiB", CHUNK_SIZES.map(tib).join(", "));
    for (what, thing) in
        [("look-ups a second, chunks that are there", What::Hits), ("look-ups a second, others", What::Misses)]
    {
        let outcome = vault.probe(thing)?;
        row(what, format!("{}, {} MB", number(1.0 / outcome.seconds, 0), number(mb(outcome.peak_bytes), 0)));
    }
    let check = vault.probe_often(What::Authenticate, false)?;
    row("getting ready to write: the index' authenticators are checked", cell(check));
    let check = vault.probe_often(What::Authenticate, true)?;
    row("the same, cold", cell(check));
    row(
        "backup of a disk of 64 MiB whose content is known but for 100 chunks",
        cell(vault.probe_often(What::Backup, false)?),
    );

    let tables = (stats.records * 48) as f64;
    let mut rebuilt = |what: &str, vault: &Vault| -> Result<()> {
        forget_index(&vault.path)?;
        let outcome = vault.probe(What::Open)?;
        let text = format!(
            "{} s, {} MB of tables a second, {} MB",
            number(outcome.seconds, 2),
            number(tables / outcome.seconds / 1e6, 0),
            number(mb(outcome.peak_bytes), 0),
        );
        row(what, text);
        Ok(())
    };
    // Nothing can be written without this folder, whoever tries.
    let (folder, aside) = (vault.path.join("tmp"), scratch.join("tmp-of-the-vault"));
    let kept = aside.parent().is_some_and(Path::is_dir) && fs::rename(&folder, &aside).is_ok();
    if kept {
        let done = rebuilt("open after the index was lost, and the vault can't be written", vault);
        fs::rename(&aside, &folder)?;
        done?;
    }
    rebuilt("open after the index was lost", vault)?;
    let _ = writeln!(
        out,
        "\nTime and memory as above; backups, checks and openings are medians of {ROUNDS}, a lost index is one."
    );
    Ok(out)
}

fn forget_index(vault: &Path) -> Result<()> {
    for run in fs::read_dir(vault.join("index"))? {
        fs::remove_file(run?.path())?;
    }
    Ok(())
}
