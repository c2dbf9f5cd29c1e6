//! What is done with a guest's files: what people and their programs do.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::images::{BLOCK, FRAGMENTS};
use crate::child;
use crate::reads;

/// One thing to do on a mount that nobody looked into yet.
#[derive(Clone, Copy, Debug)]
pub enum Task {
    /// `find` with a look at each entry, twice.
    Find,
    /// Everything packed by `tar`.
    Tar,
    /// Everything copied with all that belongs to it.
    Copy,
    /// Single blocks here and there in the file of many fragments, by one and four readers.
    Random(Duration),
}

impl Task {
    /// All of them.
    pub fn all(duration: Duration) -> [Self; 4] {
        [Self::Find, Self::Tar, Self::Copy, Self::Random(duration)]
    }

    /// What each of its figures is.
    pub fn titles(&self) -> Vec<String> {
        let titles: &[&str] = match self {
            Self::Find => &["`find -printf %s`, cold, s", "`find -printf %s`, again, s"],
            Self::Tar => &["`tar c`, cold, s"],
            Self::Copy => &["`cp -a`, cold, s"],
            Self::Random(_) => &["random 4 KiB, one reader, cold, 1/s", "random 4 KiB, four readers, 1/s"],
        };
        titles.iter().map(|title| (*title).to_owned()).collect()
    }

    /// Whether its figures are numbers a second, not seconds.
    pub fn counts(&self) -> bool {
        matches!(self, Self::Random(_))
    }

    /// Does it below `root`; answers its figures, and what it saw there, which must be the same on both sides.
    pub fn run(&self, root: &Path, dir: &Path) -> Result<(Vec<f64>, String)> {
        let log = dir.join("task.log");
        match self {
            Self::Find => {
                let find = || {
                    let mut find = Command::new("find");
                    child::run(find.arg(root).args(["-printf", "%s\\n"]), &log).map(|usage| usage.seconds)
                };
                let seconds = vec![find()?, find()?];
                let sizes: Vec<u64> = fs::read_to_string(&log)?.lines().filter_map(|size| size.parse().ok()).collect();
                Ok((seconds, format!("{} entries of {} bytes", sizes.len(), sizes.iter().sum::<u64>())))
            }
            Self::Tar => {
                let mut tar = Command::new("sh");
                let usage = child::run(tar.args(["-c", "tar cf - -C \"$0\" . | wc -c"]).arg(root), &log)?;
                Ok((vec![usage.seconds], fs::read_to_string(&log)?))
            }
            Self::Copy => {
                let to = dir.join("copied");
                let usage = child::run(Command::new("cp").arg("-a").arg(root).arg(&to), &log)?;
                fs::remove_dir_all(&to).with_context(|| to.display().to_string())?;
                Ok((vec![usage.seconds], String::new()))
            }
            Self::Random(duration) => {
                let mut blocks: Vec<u32> = (0..FRAGMENTS).map(|number| number * 2).collect();
                debug_assert_eq!(BLOCK, 4096, "what a random read reads");
                reads::shuffle(&mut blocks);
                let random = |readers| reads::random(&root.join("fragmented"), &blocks, readers, *duration);
                Ok((vec![random(1)?, random(4)?], String::new()))
            }
        }
    }
}
