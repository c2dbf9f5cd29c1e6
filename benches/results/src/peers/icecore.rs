//! icecore itself, used as any other.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::peer::{Ground, IMAGE, Peer, first_line};

/// The release build of this source.
#[derive(Debug)]
pub struct Icecore {
    /// The command.
    pub program: PathBuf,
    /// Where it works.
    pub ground: Ground,
}

impl Icecore {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.ground.command(&self.program, arguments);
        command.env("ICECORE_VAULT", self.ground.store()).env("ICECORE_PASSWORD_FILE", self.ground.password());
        // What is seen of a vault that is measured and thrown away is not for the user to keep.
        command.env("XDG_STATE_HOME", "/dev/null");
        command
    }
}

impl Peer for Icecore {
    fn name(&self) -> &'static str {
        "icecore"
    }

    fn version(&self) -> Result<String> {
        first_line(&self.program, "--version")
    }

    fn settings(&self) -> &'static str {
        "as it comes: chunks of fixed size, zstd 1, encrypted; decodes and compares what it stored, and syncs what it wrote"
    }

    fn init(&self) -> Option<Command> {
        Some(self.command(&["init"]))
    }

    fn backup(&self, _day: u32) -> Command {
        self.command(&["backup", "vm", "--disk", &format!("os={IMAGE}")])
    }

    fn restore(&self, to: &Path) -> Command {
        let mut command = self.command(&["restore", "vm/latest", "--disk", "os", "--to"]);
        command.arg(self.restored(to));
        command
    }

    fn mount(&self, at: &Path) -> Command {
        let mut command = self.command(&["mount", "--foreground"]);
        command.arg(at);
        command
    }

    fn mounted(&self, at: &Path) -> PathBuf {
        at.join("vm/latest/disks/os.raw")
    }
}
