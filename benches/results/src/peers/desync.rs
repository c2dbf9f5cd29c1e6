//! desync: a file per chunk; deduplicates, compresses, does not encrypt.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::peer::{Ground, IMAGE, Peer};

/// desync with its defaults.
#[derive(Debug)]
pub struct Desync {
    /// The command.
    pub program: PathBuf,
    /// Its version, which it does not tell.
    pub version: Option<String>,
    /// Where it works.
    pub ground: Ground,
}

impl Desync {
    fn command(&self, verb: &str) -> Command {
        let mut command = self.ground.command(&self.program, &[verb, "-s"]);
        command.arg(self.ground.store());
        // Where it looks for settings.
        command.env("HOME", self.ground.cache());
        command
    }

    /// The list of an image's chunks. A mount shows the image under the same name.
    fn index(&self, day: u32) -> PathBuf {
        self.ground.store().join(format!("day{day}.caibx"))
    }
}

impl Peer for Desync {
    fn name(&self) -> &'static str {
        "desync"
    }

    fn version(&self) -> Result<String> {
        Ok(format!("desync {}", self.version.as_deref().unwrap_or("(tells no version)")))
    }

    fn settings(&self) -> &'static str {
        "as it comes: chunks by content of about 64 KiB (`-m 16:64:256`), zstd; **not encrypted**"
    }

    fn init(&self) -> Option<Command> {
        None
    }

    fn backup(&self, day: u32) -> Command {
        let mut command = self.command("make");
        command.arg(self.index(day)).arg(IMAGE);
        command
    }

    fn restore(&self, to: &Path) -> Command {
        let mut command = self.command("extract");
        command.arg(self.index(2)).arg(self.restored(to));
        command
    }

    fn mount(&self, at: &Path) -> Command {
        let mut command = self.command("mount-index");
        command.arg(self.index(2)).arg(at);
        command
    }

    fn mounted(&self, at: &Path) -> PathBuf {
        at.join("day2")
    }
}
