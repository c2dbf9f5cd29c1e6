//! rustic: restic's format, in Rust.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::peer::{Ground, IMAGE, Peer, first_line};

/// rustic with chunks of fixed size, which suit disks best.
#[derive(Debug)]
pub struct Rustic {
    /// The command.
    pub program: PathBuf,
    /// Where it works.
    pub ground: Ground,
}

impl Rustic {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.ground.command(&self.program, arguments);
        command.env("RUSTIC_REPOSITORY", self.ground.store());
        command.env("RUSTIC_PASSWORD_FILE", self.ground.password());
        command.env("RUSTIC_CACHE_DIR", self.ground.cache());
        command
    }
}

impl Peer for Rustic {
    fn name(&self) -> &'static str {
        "rustic"
    }

    fn version(&self) -> Result<String> {
        first_line(&self.program, "--version")
    }

    fn settings(&self) -> &'static str {
        "chunks of fixed size, 1 MiB (`--set-chunker fixed_size`); zstd as it comes, encrypted; restores with \
         `--sparse by-content`"
    }

    fn init(&self) -> Option<Command> {
        Some(self.command(&["init", "--set-chunker", "fixed_size", "--set-chunk-size", "1MiB"]))
    }

    fn backup(&self, _day: u32) -> Command {
        self.command(&["backup", IMAGE])
    }

    fn restore(&self, to: &Path) -> Command {
        let mut command = self.command(&["restore", "--sparse", "by-content", "latest"]);
        command.arg(to);
        command
    }

    fn mount(&self, at: &Path) -> Command {
        let mut command = self.command(&["mount"]);
        command.arg(at).arg("latest");
        command
    }
}
