//! What restic stores for the same days.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::writes::Written;
use crate::engine;
use crate::pages::Pages;

/// Bytes of restic's repository after the first backup and after each day, restic at its defaults.
pub fn stored(restic: &Path, dir: &Path, disk: &Path, pages: &Pages, days: u64) -> Result<Vec<u64>> {
    let (repository, copy) = (dir.join("restic"), dir.join("os.raw"));
    let run = |arguments: &[&str]| -> Result<()> {
        let mut command = Command::new(restic);
        command.arg("--repo").arg(&repository).arg("--no-cache").args(arguments).arg("--quiet");
        command.env("RESTIC_PASSWORD", "bench").stdout(Stdio::null());
        let status = command.status().with_context(|| restic.display().to_string())?;
        ensure!(status.success(), "restic {} failed", arguments.join(" "));
        Ok(())
    };
    icecore_fixtures::copy_sparse(disk, &copy)?;
    run(&["init"])?;
    let path = copy.to_str().context("a path that is text")?;
    let mut written = Written::over(disk)?;
    let mut stored = Vec::new();
    for day in 0..=days {
        if day > 0 {
            let ranges = written.pass_day(day, pages);
            written.write_into(&copy, &ranges)?;
        }
        run(&["backup", path])?;
        stored.push(engine::bytes_below(&repository)?);
    }
    std::fs::remove_file(&copy)?;
    std::fs::remove_dir_all(&repository)?;
    Ok(stored)
}
