//! Giving up catalog entries that are lost for good.

use serde_json::json;

use crate::cli::arguments::Global;
use crate::cli::exit::Exit;
use crate::cli::human;
use crate::cli::output::{self, Output};
use crate::cli::problem::{Problem, Sentence};
use crate::cli::seen;

/// Tells which are, and with `writes` gives them up.
pub fn run(writes: bool, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open()?;
    let lost = vault.lost_entries();
    let mut out = Output::open();
    if !global.json {
        for entry in &lost {
            out.line(&human::escaped(format!("{entry}: is given up").as_bytes()))?;
        }
    }
    out.flush()?;
    if writes {
        vault.give_up_entries(&lost)?;
        seen::look(&vault, global.json, false);
    }
    if global.json {
        let entries: Vec<_> =
            lost.iter().map(|one| json!({"object": one.object, "problem": one.problem.to_string()})).collect();
        output::json(&json!({"message_type": if writes { "gave_up" } else { "would_give_up" }, "entries": entries}))?;
    }
    let entries = human::count(lost.len() as u64, "entry", "entries");
    if writes || lost.is_empty() {
        if !global.json && !global.quiet {
            let done = if lost.is_empty() {
                "no entry of the catalog is lost".to_owned()
            } else {
                format!("gave up {entries}")
            };
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
