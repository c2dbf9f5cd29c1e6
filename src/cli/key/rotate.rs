//! `icecore key rotate`

use clap::Args;
use icecore::vault::{RewriteReport, RotationReport};
use serde_json::{Value, json};

use super::super::arguments::Global;
use super::super::exit::Exit;
use super::super::human;
use super::super::output::{self, Output};
use super::super::problem::Problem;
use super::super::progress;
use super::super::seen;
use super::super::signals::{self, Interrupt};
use super::{describe, describe_listed, remark};

const EXAMPLES: &str = "\
Examples:
  icecore key remove 4c1d09be11a2c3d4 && icecore key rotate
  icecore key rotate --rewrite";

/// Begin a new epoch of keys
///
/// What is written from now on is under new keys, which only the keys in `icecore key list` open: nobody needs his
/// password for that. Nothing is rewritten, and backups go on finding what the vault has already. Waits until no backup
/// runs. Mounts that are open show what there was when they began.
///
/// What a removed key could read before, its holder may have read and kept. With --rewrite, what is stored is moved under
/// the new keys too, so that neither the vault nor a copy of it made from then on opens with an old key. That reads and
/// writes the whole vault, while others back up; mounts, copies and restores that began before are begun again. When it ends early, run it again: it goes on.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Move what is stored under the new keys too; goes on where an earlier one ended early
    #[arg(long)]
    rewrite: bool,
}

/// Rotates, and rewrites where that is wanted.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_with_signals_as_they_are(crate::cli::salvage::Salvage::default())?;
    let interrupt = Interrupt::noted().map_err(signals::refused)?;
    let (vault, rotation) = if arguments.rewrite && vault.rewrite_is_pending()? {
        (vault, None)
    } else {
        let (vault, report) = vault.rotate_keys(arguments.rewrite)?;
        seen::look(&vault, global.json, false);
        (vault, Some(report))
    };
    let mut out = Output::open();
    let told = rotation.map_or(Ok(()), |report| tell_rotation(&mut out, &report, global)).and_then(|()| out.flush());
    drop(out);
    if !arguments.rewrite {
        return told.map(|()| Exit::Done);
    }
    // Also where nobody hears of it.
    let report = progress::shown(global, &interrupt, "segments", |progress| vault.rewrite(progress))?;
    told?;
    tell_rewrite(&report, global)
}

fn tell_rotation(out: &mut Output, report: &RotationReport, global: &Global) -> Result<(), Problem> {
    for error in &report.unreadable {
        output::warning(&format!("{error}; that key gets no new keys"), global.json);
    }
    for slot in &report.left_out {
        let (id, why) = (&slot.info.id, remark(slot, ""));
        output::warning(&format!("key {id} gets no new keys: {why}"), global.json);
    }
    if global.json {
        let left_out: Vec<Value> = report.left_out.iter().map(|slot| describe_listed(slot, "")).collect();
        return out.json(&json!({
            "message_type": "rotated",
            "epoch": report.epoch,
            "keys": report.kept.iter().map(describe).collect::<Vec<_>>(),
            "left_out": left_out,
            "unreadable": report.unreadable.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
    }
    if global.quiet {
        return Ok(());
    }
    let keys = human::count(report.kept.len() as u64, "key goes", "keys go");
    out.line(&format!("epoch {} of the keys began: {keys} on as before, each with its own password", report.epoch))
}

fn tell_rewrite(report: &RewriteReport, global: &Global) -> Result<Exit, Problem> {
    for error in &report.left {
        output::warning(&format!("{error}; that segment stays under the old keys"), global.json);
    }
    if global.json {
        output::json(&json!({
            "message_type": "rewritten",
            "segments": report.segments,
            "records": report.records,
            "read_bytes": report.read_bytes,
            "written_bytes": report.written_bytes,
            "left": report.left.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "seconds": report.seconds,
        }))?;
    } else if !global.quiet {
        output::line(&format!(
            "{} rewritten under the new keys: {}, {}",
            human::count(report.segments, "segment", "segments"),
            human::size(report.read_bytes),
            human::rate(report.read_bytes, report.seconds),
        ))?;
    }
    Ok(if report.left.is_empty() { Exit::Done } else { Exit::Incomplete })
}
