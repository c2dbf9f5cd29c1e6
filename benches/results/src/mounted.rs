//! A mount that a child serves, unmounted whatever happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::child::{Child, Usage};

/// How long a file may take to appear.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory with something mounted on it, and the child that serves it in the foreground.
#[derive(Debug)]
pub struct Mounted {
    child: Option<Child>,
    at: PathBuf,
    /// Seconds from the start of the command until the file that is wanted could be looked at.
    pub ready_seconds: f64,
}

impl Mounted {
    /// Runs the command, which mounts on `at` and stays, and waits until `file` is there.
    pub fn start(command: &mut Command, at: &Path, file: &Path, log: &Path) -> Result<Self> {
        fs::create_dir_all(at).with_context(|| at.display().to_string())?;
        let began = Instant::now();
        let child = Child::start(command, log)?;
        let mut mounted = Self { child: Some(child), at: at.to_owned(), ready_seconds: 0.0 };
        while !file.is_file() {
            mounted.child.as_ref().context("no child")?.check_running()?;
            if began.elapsed() > PATIENCE {
                bail!("{} did not appear in {} s", file.display(), PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(1));
        }
        mounted.ready_seconds = began.elapsed().as_secs_f64();
        Ok(mounted)
    }

    /// Unmounts, and tells what serving cost.
    pub fn finish(mut self) -> Result<Usage> {
        let child = self.child.take().context("no child")?;
        unmount(&self.at, &child)?;
        let usage = child.finish()?;
        Ok(usage)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        // What serves it may be stuck: then the mount goes first, and the child is ended when it is dropped.
        if unmount(&self.at, &child).is_err() {
            asked(&self.at, &["-u", "-z"], &["-l"]);
        }
    }
}

/// Unmounts as whoever mounted it would, and waits for the child's end.
fn unmount(at: &Path, child: &Child) -> Result<()> {
    for _ in 0..50 {
        asked(at, &["-u"], &[]);
        if child.ends_within(Duration::from_millis(200)) {
            return Ok(());
        }
    }
    bail!("{} does not let itself be unmounted", at.display())
}

/// Whether one of the two programs that unmount did.
fn asked(at: &Path, fuse: &[&str], root: &[&str]) -> bool {
    let runs = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).arg(at).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    runs("fusermount3", fuse) || runs("fusermount", fuse) || runs("umount", root)
}
