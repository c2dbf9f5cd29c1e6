//! What every section opens with: when, on what, from which source, and the command that makes it again.

use std::process::Command;

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::machine::Machine;
use crate::place;

/// The section with its heading. The commit is the one that was built, see [`commit`].
pub fn with(commit: &str, name: &str, title: &str, body: &str) -> String {
    let machine = Machine::here();
    format!(
        "## {title}\n\n\
         - {date} UTC, icecore at commit {commit}\n\
         - {machine}\n\
         - made again by `{command}`\n\n\
         {body}",
        date = Timestamp::now().strftime("%F %H:%M"),
        command = command(name),
        body = body.trim(),
    )
}

/// The commit of the source as it is now; `-dirty` where files differ from it. To be asked when icecore is built: a
/// measurement takes long enough for somebody to change the source meanwhile.
pub fn commit() -> Result<String> {
    // The document itself changes with every section, so it doesn't count.
    let output = Command::new("git")
        .args(["describe", "--always", "--abbrev=12", "--exclude=*"])
        .current_dir(place::repository())
        .output()
        .context("git")?;
    let mut commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let changed = Command::new("git")
        .args(["status", "--porcelain", "--untracked-files=no", "--", ".", ":!benches/RESULTS.md"])
        .current_dir(place::repository())
        .output()
        .context("git")?;
    if !changed.stdout.is_empty() {
        commit.push_str("-dirty");
    }
    Ok(commit)
}

/// What was typed, but with the section's own name where it was `all`.
fn command(name: &str) -> String {
    let typed = std::env::args().skip(1).map(|argument| if argument == "all" { name.to_owned() } else { argument });
    let line: Vec<String> = typed.map(quoted).collect();
    format!("cargo run --release -p icecore-results -- {}", line.join(" "))
}

fn quoted(argument: String) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,+@".contains(&byte);
    if !argument.is_empty() && argument.bytes().all(plain) {
        return argument;
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}
