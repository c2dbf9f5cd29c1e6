//! Opening a vault, small and large.

use std::fmt::Write;

use anyhow::Result;

use super::probe::{Outcome, What};
use super::{ROUNDS, Vault};
use crate::table::number;

/// The table of both.
pub(super) fn measure(small: &Vault, large: &Vault) -> Result<String> {
    let mut out = format!(
        "Each figure is that of a process of its own: milliseconds from before the vault is opened until it is done, the \
         median of {ROUNDS}, and the most memory that the process ever held, mapped files included (a process that does \
         nothing holds {} MB). A key file opens the vault; a password's Argon2id comes on top. Cold: the kernel had \
         forgotten everything, directories included. The chunks are of {} bytes, so that there are many.\n\n",
        number(mb(small.probe(What::Nothing)?.peak_bytes), 1),
        super::generator::CHUNK_BYTES,
    );
    let title = |vault: &Vault| {
        let plural = if vault.plan.points == 1 { "" } else { "s" };
        let (chunks, points) = (number(vault.plan.chunks as f64, 0), number(vault.plan.points as f64, 0));
        format!("{chunks} chunks, {points} point{plural}")
    };
    let _ = writeln!(out, "| | {} | {} |\n|---|---:|---:|", title(small), title(large));
    let rows = [
        ("open, warm", What::Open, false),
        ("open and list all points, warm", What::Points, false),
        ("open and read a page through the tree, warm", What::Page, false),
        ("open, cold", What::Open, true),
        ("open and read a page through the tree, cold", What::Page, true),
    ];
    for (row, what, cold) in rows {
        let cell = |vault: &Vault| Ok::<_, anyhow::Error>(cell(vault.probe_often(what, cold)?));
        let _ = writeln!(out, "| {row} | {} | {} |", cell(small)?, cell(large)?);
    }
    let password = small.probe_often(What::Password, false)?.map_or(0.0, |outcome| outcome.seconds);
    let _ = writeln!(out, "\nA password at its default costs takes {} ms on top.", number(password * 1e3, 0));
    Ok(out)
}

/// Time and memory.
pub(super) fn cell(outcome: Option<Outcome>) -> String {
    let text = |of: Outcome| format!("{} ms, {} MB", number(of.seconds * 1e3, 1), number(mb(of.peak_bytes), 1));
    outcome.map_or_else(|| "-".to_owned(), text)
}

/// Megabytes.
pub(super) fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
