//! What it costs to give back space in a large vault.

use std::fmt::Write;
use std::thread;

use anyhow::{Context, Result};

use super::Vault;
use super::open::{cell, mb};
use super::probe::{Outcome, What};
use crate::table::number;

/// The table of a vault whose points differ.
pub(super) fn measure(vault: &Vault) -> Result<String> {
    let mut out = format!(
        "\n| a vault of {} different chunks and {} points, {} changed chunks from one to the next | |\n|---|---:|\n",
        number(vault.plan.chunks as f64, 0),
        vault.plan.points,
        number(vault.plan.changes as f64, 0),
    );
    let mut row = |what: &str, value: String| {
        let _ = writeln!(out, "| {what} | {value} |");
    };
    row(
        "gc that finds nothing to do: all maps are walked, all segments' tables read",
        cell(Some(vault.probe(What::Mark)?)),
    );
    let forgotten = vault.probe(What::Forget)?;
    row(&format!("forget the {} oldest points", forgotten.found), cell(Some(forgotten)));
    let alone = vault.probe(What::LongBackup)?;
    // Beside each other: what each of them costs the other.
    let (collected, beside) = thread::scope(|scope| -> Result<(Outcome, Outcome)> {
        let backup = scope.spawn(|| vault.probe(What::LongBackup));
        let collected = vault.probe(What::Collect)?;
        Ok((collected, backup.join().ok().context("a thread ended")??))
    })?;
    row(
        "gc of those, beside a backup",
        format!("{} MB given back, {}", number(mb(collected.found), 0), cell(Some(collected))),
    );
    row("a backup of 4 GiB of new chunks of 4 KiB, alone", cell(Some(alone)));
    row("the same beside that gc", cell(Some(beside)));
    row("gc again: nothing is left", cell(Some(vault.probe(What::Collect)?)));
    Ok(out)
}
