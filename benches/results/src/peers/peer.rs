//! What a program must be able to do to take part, and where it does it.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The name of the image that everybody backs up, on both days the same.
pub const IMAGE: &str = "disk.raw";

/// A program that keeps disk images, by the commands that it is used with.
///
/// A command runs in the directory of the image, where it is called [`IMAGE`].
pub trait Peer {
    /// What the table calls it.
    fn name(&self) -> &'static str;

    /// Its version, as it tells it itself.
    fn version(&self) -> Result<String>;

    /// What differs from its defaults, and what else one must know to compare.
    fn settings(&self) -> &'static str;

    /// Makes an empty store, where there is a step for that.
    fn init(&self) -> Option<Command>;

    /// Adds the image as it is on this day, 1 or 2, to the store.
    fn backup(&self, day: u32) -> Command;

    /// Writes the image of the second day into a directory, which is empty.
    fn restore(&self, to: &Path) -> Command;

    /// Where in that directory it is then.
    fn restored(&self, to: &Path) -> PathBuf {
        to.join(IMAGE)
    }

    /// Mounts the store in the foreground.
    fn mount(&self, at: &Path) -> Command;

    /// Where under the mount point the image of the second day is.
    fn mounted(&self, at: &Path) -> PathBuf {
        at.join(IMAGE)
    }
}

/// The directories of a peer's turn.
#[derive(Clone, Debug)]
pub struct Ground {
    dir: PathBuf,
}

impl Ground {
    /// Everything below this directory.
    pub fn new(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir)?;
        let ground = Self { dir };
        if !ground.password().exists() {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(ground.password())?;
            writeln!(file, "nothing here is secret")?;
        }
        Ok(ground)
    }

    /// The image.
    pub fn image(&self) -> PathBuf {
        self.dir.join(IMAGE)
    }

    /// What counts as stored: all files below.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// What a peer keeps outside of its store.
    pub fn cache(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// A file that holds the password.
    pub fn password(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// Where a restore goes.
    pub fn restored(&self) -> PathBuf {
        self.dir.join("restored")
    }

    /// Where a mount goes.
    pub fn mount_point(&self) -> PathBuf {
        self.dir.join("mount")
    }

    /// Where the output of the last command is.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// A command that runs beside the image.
    pub fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.dir);
        command
    }
}

/// The program that was named, or the one that a shell would find.
pub fn find(name: &str, given: Option<&Path>) -> Option<PathBuf> {
    if let Some(given) = given {
        return given.canonicalize().ok();
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}

/// The first line that a program prints.
pub fn first_line(program: &Path, argument: &str) -> Result<String> {
    let output = Command::new(program).arg(argument).output().with_context(|| program.display().to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
