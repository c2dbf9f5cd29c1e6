//! Giving up catalog entries that are lost for good.

use icecore::error::{Damage, Problem as Wrong};
use serde_json::json;

use crate::cli::arguments::Global;
use crate::cli::exit::Exit;
use crate::cli::human;
use crate::cli::output::{self, Output};
use crate::cli::problem::{Problem, Sentence};
use crate::cli::seen;

/// Tells which are, and with `writes` gives them up; those that the medium does not give only where `unreadable` says so.
pub fn run(writes: bool, unreadable: bool, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_to_check(crate::cli::salvage::Salvage::default())?;
    if let Some(hidden) = vault.hidden_keys() {
        let sentence = Sentence::new(
            format!("{hidden}, which may hide a rotation of the keys"),
            "nothing was given up",
            "see with `icecore key list` that all keys are as they should be, begin anew with `icecore key rotate`, then run it \
             again",
        );
        return Err(Problem::said(Exit::Failed, sentence));
    }
    let is_wanted = |damage: &Damage| unreadable || !matches!(damage.problem, Wrong::Unreadable(_));
    let (lost, left): (Vec<_>, Vec<_>) = vault.lost_entries().into_iter().partition(is_wanted);
    let mut out = Output::open();
    if !global.json {
        for entry in &lost {
            out.line(&human::escaped(format!("{entry}: is given up").as_bytes()))?;
        }
    }
    out.flush()?;
    for entry in &left {
        output::notice(
            &format!("{entry}; where the medium will never give it again, --unreadable gives it up too"),
            global.json,
        );
    }
    let given_up = if writes { vault.give_up_entries(&lost)? } else { lost.len() as u64 };
    if writes {
        seen::look(&vault, global.json, false);
    }
    if global.json {
        let entries: Vec<_> =
            lost.iter().map(|one| json!({"object": one.object, "problem": one.problem.to_string()})).collect();
        output::json(&json!({
            "message_type": if writes { "gave_up" } else { "would_give_up" },
            "entries": entries,
            "unreadable": left.iter().map(|one| one.object.as_str()).collect::<Vec<_>>(),
        }))?;
    }
    let entries = human::count(given_up, "entry", "entries");
    if !left.is_empty() && lost.is_empty() {
        let happened = format!("{} can't be read just now", human::count(left.len() as u64, "entry", "entries"));
        let next = "check the file system under the vault, or add --unreadable";
        return Err(Problem::said(Exit::Failed, Sentence::new(happened, "nothing was given up", next)));
    }
    if writes || lost.is_empty() {
        if !global.json && !global.quiet {
            let none = lost.is_empty();
            let done = if none { "no entry of the catalog is lost".to_owned() } else { format!("gave up {entries}") };
            output::line(&done)?;
        }
        return Ok(Exit::Done);
    }
    let sentence = Sentence::new(
        format!("{entries} of the catalog can be given up"),
        "nothing was changed",
        "look first whether a copy has them, with `icecore repair --from DIR`, then add --write",
    );
    Err(Problem::said(Exit::Failed, sentence))
}
