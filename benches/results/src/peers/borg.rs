//! borg: segments, encrypted.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::peer::{Ground, IMAGE, Peer, first_line};

/// borg with chunks of fixed size, as its manual advises for disks.
#[derive(Debug)]
pub struct Borg {
    /// The command.
    pub program: PathBuf,
    /// Where it works.
    pub ground: Ground,
}

impl Borg {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.ground.command(&self.program, arguments);
        command.env("BORG_REPO", self.ground.store());
        command.env("BORG_PASSCOMMAND", format!("cat {}", self.ground.password().display()));
        // Its cache, its keys' backup and its notes on repositories seen before.
        command.env("BORG_BASE_DIR", self.ground.cache());
        command
    }
}

impl Peer for Borg {
    fn name(&self) -> &'static str {
        "borg"
    }

    fn version(&self) -> Result<String> {
        first_line(&self.program, "--version")
    }

    fn settings(&self) -> &'static str {
        "chunks of fixed size (`--chunker-params fixed,4194304`), zstd 1 (`-C zstd,1`), encrypted (`repokey-blake2`); \
         restores with `--sparse`"
    }

    fn init(&self) -> Option<Command> {
        Some(self.command(&["init", "--encryption", "repokey-blake2"]))
    }

    fn backup(&self, day: u32) -> Command {
        let archive = format!("::day{day}");
        self.command(&["create", "--chunker-params", "fixed,4194304", "-C", "zstd,1", &archive, IMAGE])
    }

    fn restore(&self, to: &Path) -> Command {
        let mut command = self.command(&["extract", "--sparse", "::day2"]);
        // It knows no other place to write to.
        command.current_dir(to);
        command
    }

    fn mount(&self, at: &Path) -> Command {
        let mut command = self.command(&["mount", "--foreground", "::day2"]);
        command.arg(at);
        command
    }
}
