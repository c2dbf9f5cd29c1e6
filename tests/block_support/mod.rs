//! A block device that keeps account of what it was asked to write and to flush, and what power loss leaves of it.

#![allow(missing_docs, dead_code, reason = "each test file uses its own part")]

pub mod attached;
pub mod served;
pub mod trace;

/// A tool, also where an ordinary user's `PATH` does not lead.
pub fn tool(name: &str) -> std::process::Command {
    let path = format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = std::process::Command::new("env");
    command.arg(format!("PATH={path}")).arg(name);
    command
}

/// Runs a tool; where it fails, why.
pub fn run(command: &mut std::process::Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
