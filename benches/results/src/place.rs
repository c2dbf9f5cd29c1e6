//! Where a section works: a scratch directory, the disks, and the `icecore` that is measured.

use std::cell::OnceCell;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// A scratch directory that vanishes with it, the disks, and the release build of `icecore`.
#[derive(Debug)]
pub struct Place {
    scratch: TempDir,
    given_disks: Option<PathBuf>,
    disks: OnceCell<PathBuf>,
    icecore: PathBuf,
}

impl Place {
    /// Builds `icecore` and makes the scratch directory below `dir`, or below the system's temporary directory.
    pub fn new(dir: Option<&Path>, disks: Option<&Path>) -> Result<Self> {
        let given_disks = disks.map(|disks| disks.canonicalize().with_context(|| disks.display().to_string()));
        let parent = dir.map_or_else(env::temp_dir, Path::to_path_buf);
        let parent = parent.canonicalize().with_context(|| parent.display().to_string())?;
        Ok(Self {
            given_disks: given_disks.transpose()?,
            disks: OnceCell::new(),
            icecore: build_icecore()?,
            scratch: tempfile::Builder::new().prefix("icecore-results.").tempdir_in(parent)?,
        })
    }

    /// The scratch directory, absolute. A section leaves nothing behind in it that it does not need.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The `icecore` that is measured.
    pub fn icecore(&self) -> &Path {
        &self.icecore
    }

    /// The OS disk of a day, 1 or 2. Makes the disks when none were given and none were needed before.
    pub fn os_disk(&self, day: u32) -> Result<PathBuf> {
        self.disk(day, "os")
    }

    /// A disk of a day by its name, `os` or `data`.
    pub fn disk(&self, day: u32, name: &str) -> Result<PathBuf> {
        let path = self.disks()?.join(format!("day{day}/{name}.raw"));
        ensure!(path.is_file(), "{} is missing; make-disks makes it", path.display());
        Ok(path)
    }

    fn disks(&self) -> Result<&Path> {
        if let Some(disks) = self.given_disks.as_ref().or(self.disks.get()) {
            return Ok(disks);
        }
        let disks = self.dir().join("disks");
        let mut make = cargo(&["run", "--release", "--quiet", "-p", "icecore-fixtures", "--bin", "make-disks"]);
        make.arg("--").arg("--out").arg(&disks);
        ensure!(make.status().context("cargo")?.success(), "make-disks failed");
        Ok(self.disks.get_or_init(|| disks))
    }
}

/// The directory of the source, where `Cargo.toml` of the workspace is.
pub fn repository() -> PathBuf {
    // This package lives two levels below.
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap_or_else(|_| PathBuf::from("."))
}

/// Builds the command and returns where cargo put it, whatever decides that.
fn build_icecore() -> Result<PathBuf> {
    let mut build = cargo(&["build", "--release", "-p", "icecore", "--bin", "icecore", "--message-format=json"]);
    let output = build.stderr(std::process::Stdio::inherit()).output().context("cargo")?;
    ensure!(output.status.success(), "icecore does not build");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("what cargo says")?;
        if message["target"]["name"] == "icecore"
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(PathBuf::from(path));
        }
    }
    bail!("cargo does not say where it put icecore")
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(repository());
    command
}
