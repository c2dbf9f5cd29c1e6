//! restic: chunks by content, packs, encrypted.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::peer::{Ground, IMAGE, Peer, first_line};

/// restic with its defaults.
#[derive(Debug)]
pub struct Restic {
    /// The command.
    pub program: PathBuf,
    /// Where it works.
    pub ground: Ground,
}

impl Restic {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.ground.command(&self.program, arguments);
        command.env("RESTIC_REPOSITORY", self.ground.store());
        command.env("RESTIC_PASSWORD_FILE", self.ground.password());
        command.env("RESTIC_CACHE_DIR", self.ground.cache());
        command
    }
}

impl Peer for Restic {
    fn name(&self) -> &'static str {
        "restic"
    }

    fn version(&self) -> Result<String> {
        first_line(&self.program, "version")
    }

    fn settings(&self) -> &'static str {
        "as it comes: chunks by content of about 1 MiB, zstd by itself, encrypted; restores with `--sparse`"
    }

    fn init(&self) -> Option<Command> {
        Some(self.command(&["init"]))
    }

    fn backup(&self, _day: u32) -> Command {
        self.command(&["backup", IMAGE])
    }

    fn restore(&self, to: &Path) -> Command {
        let mut command = self.command(&["restore", "latest", "--sparse", "--target"]);
        command.arg(to);
        command
    }

    fn mount(&self, at: &Path) -> Command {
        let mut command = self.command(&["mount"]);
        command.arg(at);
        command
    }

    fn mounted(&self, at: &Path) -> PathBuf {
        at.join("snapshots/latest").join(IMAGE)
    }
}
