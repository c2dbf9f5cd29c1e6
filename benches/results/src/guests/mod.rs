//! Section `guests`: a guest's own files through a mount, beside the kernel's own driver on the raw image.
//!
//! All in one run, by turns, so that whatever else the machine does hits both alike. The kernel reads a plain file where
//! icecore reads, decrypts and unpacks a vault: it is the yardstick all the same.

mod images;
mod sides;
mod tasks;

use std::fmt::Write;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::fs::{Advice, fadvise};

use crate::child;
use crate::place::Place;
use crate::table::{self, Better, Row};
use images::{Image, Kind};
use sides::{Kernel, Side, Vault};
use tasks::Task;

/// The section's name in the document and on the command line.
pub const NAME: &str = "guests";

/// The section's heading.
pub const TITLE: &str = "A guest's files, beside the kernel's own driver";

/// What can be chosen.
#[derive(Args, Debug)]
pub struct Options {
    /// Turns of each measurement; the table has the medians
    #[arg(id = "guest-runs", long = "guest-runs", value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The files of the guests: a copy of those below 8 MiB there
    #[arg(id = "guest-from", long = "guest-from", value_name = "DIR", default_value = "/usr")]
    from: std::path::PathBuf,
    /// How long random reads last each time
    #[arg(id = "guest-read-seconds", long = "guest-read-seconds", value_name = "SECONDS", default_value_t = 3)]
    read_seconds: u64,
}

/// Measures, and returns the section's text.
pub fn run(place: &Place, options: &Options) -> Result<String> {
    if !rustix::process::geteuid().is_root() {
        return Ok("Not measured: the kernel's own driver mounts for root only.".to_owned());
    }
    let dir = place.dir().join(NAME);
    fs::create_dir_all(&dir)?;
    let images = images::make(&dir, &options.from)?;
    let vault = Vault::new(place.icecore(), &dir)?;
    vault.back_up(&images)?;
    let duration = Duration::from_secs(options.read_seconds);
    let mut text = explanation(options, &images);
    for kind in [Kind::Ext4, Kind::Xfs] {
        let rows = measure(&dir, &vault, &images, kind, options.runs, duration)?;
        let _ = writeln!(text, "\n{}:\n\n{}", kind.name(), table::ratios(&["icecore", "kernel"], &rows));
    }
    // Nothing of a hundred gibibytes stays for the sections that follow.
    fs::remove_dir_all(&dir)?;
    Ok(text)
}

fn explanation(options: &Options, images: &[Image]) -> String {
    let facts: Vec<&str> = images.iter().map(|image| image.fact.as_str()).filter(|fact| !fact.is_empty()).collect();
    format!(
        "The files below 8 MiB of {}, and a file of 65,536 fragments of 4 KiB, on a disk of 8 GiB; and disks of 100 GiB, \
         sparse, clean and with a live log. {}. Cold: icecore's mount and the kernel's are new, and the page cache \
         holds nothing of vault and image. In brackets: how many times as fast icecore is; the goal is 0.5x or more. \
         Memory is the largest anonymous memory of the mounting process. The vault is opened with a key file.\n",
        options.from.display(),
        facts.join("; "),
    )
}

fn measure(dir: &Path, vault: &Vault, images: &[Image], kind: Kind, runs: u32, duration: Duration) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut peaks = Vec::new();
    let files = images::find(images, kind, "files")?;
    for task in Task::all(duration) {
        let (mut ours, mut kernels) = (Vec::new(), Vec::new());
        let mut steps = task.titles().len();
        for run in 1..=runs {
            eprintln!("{}: {} (run {run} of {runs})", kind.name(), task.titles().join(", "));
            let mounted = vault.mount(dir, files)?;
            let (mine, seen) = task.run(mounted.root(), dir)?;
            peaks.push(mounted.finish()? as f64);
            let mounted = Kernel::mount(dir, files)?;
            let (theirs, also_seen) = task.run(mounted.root(), dir)?;
            mounted.finish()?;
            ensure!(seen == also_seen, "{}: icecore shows {seen}, the kernel {also_seen}", task.titles().join(", "));
            steps = steps.min(mine.len());
            ours.push(mine);
            kernels.push(theirs);
            child::check_interrupted()?;
        }
        for (step, title) in task.titles().into_iter().enumerate().take(steps) {
            let column = |turns: &[Vec<f64>]| table::median(turns.iter().map(|turn| turn[step]).collect());
            let better = if task.counts() { Better::More } else { Better::Less };
            let digits = if task.counts() { 0 } else { 2 };
            rows.push(Row { title, better, digits, figures: vec![column(&ours), column(&kernels)] });
        }
    }
    for state in ["clean", "dirty"] {
        let image = images::find(images, kind, state)?;
        let (mut ours, mut kernels) = (Vec::new(), Vec::new());
        let mut opened = Vec::new();
        for _ in 0..runs {
            let mounted = vault.mount(dir, image)?;
            ours.push(mounted.ready_seconds() * 1e3);
            opened.push(mounted.finish()? as f64);
            let mounted = Kernel::mount(dir, image)?;
            kernels.push(mounted.ready_seconds() * 1e3);
            mounted.finish()?;
        }
        let figures = vec![table::median(ours), table::median(kernels)];
        let title = format!("mount to first file, 100 GiB, {state}, cold, ms");
        rows.push(Row { title, better: Better::Less, digits: 0, figures });
        let title = format!("memory then, {state}, MB");
        rows.push(Row { title, better: Better::Less, digits: 0, figures: vec![largest(&opened), None] });
    }
    let title = "memory, largest of all but those, MB".to_owned();
    rows.push(Row { title, better: Better::Less, digits: 0, figures: vec![largest(&peaks), None] });
    Ok(rows)
}

fn largest(bytes: &[f64]) -> Option<f64> {
    bytes.iter().copied().reduce(f64::max).map(|bytes| bytes / 1e6)
}

/// Has the kernel forget what it keeps of the files below a directory, which were synced when they were made. Measuring
/// cold without that would be a lie; to have it forget everything would also wait for whatever others write.
fn forget(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            forget(&entry.path())?;
        } else if entry.file_type()?.is_file() {
            let file = File::open(entry.path())?;
            fadvise(&file, 0, None, Advice::DontNeed).with_context(|| entry.path().display().to_string())?;
        }
    }
    Ok(())
}
