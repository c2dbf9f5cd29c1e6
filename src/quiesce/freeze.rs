//! The order of one backup's commands, and that what was begun is undone.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;

use super::script::{self, Ended, Script, TAIL_BYTES};
use super::{DiskImage, Phase, Quiesce, ScriptFailure, ScriptRun, one_line, reflink, snapshot};
use crate::error::{Error, Result};
use crate::point::{Consistency, Quiesced, ReadFrom, Scripts};
use crate::source::RawSource;

/// A machine that is made to hold still. Dropped, it undoes whatever is still to be undone.
pub(crate) struct Freeze<'a> {
    quiesce: &'a Quiesce,
    machine: &'a str,
    images: &'a [DiskImage],
    /// The post-script is owed.
    thaw: bool,
    /// The release of a snapshot is owed.
    release: bool,
    /// Where the snapshot of each disk is.
    snapshots: Vec<Option<PathBuf>>,
    /// Why the scripts are not to be believed.
    failed: Option<String>,
    runs: Vec<ScriptRun>,
    /// Pipes that what the scripts left running prints to, until the last one has run.
    pipes: Vec<OwnedFd>,
}

/// Disks that can be read.
pub(crate) struct Still {
    /// In the order of the images.
    pub sources: Vec<RawSource>,
    /// The moment that they show, where they are a copy.
    pub moment: Option<Timestamp>,
}

/// What a point that was read may be called.
pub(crate) struct Achieved {
    pub consistency: Consistency,
    pub quiesced: Option<Quiesced>,
}

impl<'a> Freeze<'a> {
    pub(crate) fn new(quiesce: &'a Quiesce, machine: &'a str, images: &'a [DiskImage]) -> Self {
        let snapshots = vec![None; images.len()];
        let (runs, pipes) = (Vec::new(), Vec::new());
        Self { quiesce, machine, images, thaw: false, release: false, snapshots, failed: None, runs, pipes }
    }

    /// Makes the machine hold still, and opens what is to be read: after this it goes on if that is a copy.
    pub(crate) fn begin(&mut self, stop: &dyn Fn() -> bool) -> Result<Still> {
        let go_on = || if stop() { Err(Error::Interrupted) } else { Ok(()) };
        go_on()?;
        self.pre(stop)?;
        go_on()?;
        // Before the copy: everything that was written until then is in it.
        let moment = self.quiesce.copies().then(Timestamp::now);
        let sources = self.sources(stop);
        if sources.is_err() || self.quiesce.copies() {
            let thawed = self.post(sources.is_ok());
            return sources.and_then(|sources| thawed.and_then(|()| go_on()).map(|()| Still { sources, moment }));
        }
        Ok(Still { sources: sources?, moment })
    }

    /// Lets the machine go on, where it still holds still, since every disk was read. Tells what the point may be called.
    pub(crate) fn read(&mut self) -> Result<Achieved> {
        self.post(true)?;
        let quiesce = self.quiesce;
        if !quiesce.is_something() {
            return Ok(Achieved { consistency: quiesce.level(), quiesced: None });
        }
        let scripts = quiesce.pre_script.as_ref().map(|_| match self.failed {
            Some(_) => Scripts::Failed,
            None => Scripts::Succeeded,
        });
        let read = match (&quiesce.snapshot_command, quiesce.reflink) {
            (Some(_), _) => ReadFrom::Snapshot,
            (None, true) => ReadFrom::Reflink,
            (None, false) => ReadFrom::Disks,
        };
        let consistency = if self.failed.is_some() { Consistency::Crash } else { quiesce.level() };
        Ok(Achieved { consistency, quiesced: Some(Quiesced { read, scripts, failure: self.failed.clone() }) })
    }

    /// Undoes what is left, once nothing of it is read any more, and tells what was run.
    pub(crate) fn end(mut self, point_made: bool) -> Vec<ScriptRun> {
        self.undo(point_made);
        std::mem::take(&mut self.runs)
    }

    fn undo(&mut self, point_made: bool) {
        // The machine goes on first: a snapshot may take its time to go. What failed is among the runs.
        let _ = self.post(false);
        if let (true, Some(command)) = (std::mem::take(&mut self.release), &self.quiesce.snapshot_command) {
            self.run(Phase::Release, command, Some(point_made), None);
        }
        self.pipes.clear();
    }

    fn pre(&mut self, stop: &dyn Fn() -> bool) -> Result<()> {
        let Some(command) = &self.quiesce.pre_script else { return Ok(()) };
        self.thaw = self.quiesce.post_script.is_some();
        self.run(Phase::Pre, command, None, Some(stop));
        let outcome = self.judged();
        if outcome.is_err() || self.failed.is_some() {
            // Half of it may hold still.
            let _ = self.post(false);
        }
        outcome
    }

    /// Runs the post-script if it is owed.
    fn post(&mut self, ok: bool) -> Result<()> {
        let (true, Some(command)) = (std::mem::take(&mut self.thaw), &self.quiesce.post_script) else { return Ok(()) };
        self.run(Phase::Post, command, Some(ok), None);
        self.judged()
    }

    fn sources(&mut self, stop: &dyn Fn() -> bool) -> Result<Vec<RawSource>> {
        let opened = |path: &Path, source| Error::File { operation: "open disk", path: path.to_owned(), source };
        let (quiesce, images) = (self.quiesce, self.images);
        if quiesce.reflink {
            // All of them before anything else is done: they are to be of one moment as far as can be.
            let copies = reflink::copy_all(images, quiesce.snapshot_dir.as_deref(), quiesce.timeout, stop)?;
            let source =
                |(copy, image): (_, &DiskImage)| RawSource::of(copy).map_err(|error| opened(&image.path, error));
            return copies.into_iter().zip(images).map(source).collect();
        }
        if let Some(command) = &quiesce.snapshot_command {
            self.snapshot(command, stop)?;
        }
        let paths = images.iter().zip(&self.snapshots).map(|(image, copy)| copy.as_ref().unwrap_or(&image.path));
        paths.map(|path| RawSource::open(path).map_err(|error| opened(path, error))).collect()
    }

    fn snapshot(&mut self, command: &str, stop: &dyn Fn() -> bool) -> Result<()> {
        self.release = true;
        let answer = self.run(Phase::Snapshot, command, None, Some(stop));
        let wrong = snapshot::read(&answer, self.images, &mut self.snapshots);
        let Some(run) = self.runs.last_mut() else { return Ok(()) };
        run.failure = run.failure.take().or(wrong);
        match &run.failure {
            // The disks themselves are no substitute, whoever allows what: they are of no one moment.
            Some(ScriptFailure::Interrupted) => Err(Error::Interrupted),
            _ => run.error().map_or(Ok(()), Err),
        }
    }

    /// What the script that ran last means for the backup.
    fn judged(&mut self) -> Result<()> {
        let Some(run) = self.runs.last() else { return Ok(()) };
        match (&run.failure, run.error()) {
            (Some(ScriptFailure::Interrupted), _) => Err(Error::Interrupted),
            (_, Some(error)) if self.quiesce.allow_crash => {
                self.failed.get_or_insert(one_line(&error.to_string(), TAIL_BYTES));
                Ok(())
            }
            (_, Some(error)) => Err(error),
            (_, None) => Ok(()),
        }
    }

    fn run(&mut self, phase: Phase, command: &str, ok: Option<bool>, stop: Option<&dyn Fn() -> bool>) -> Vec<u8> {
        let began = Instant::now();
        let (timeout, variables, answers) = (self.quiesce.timeout, self.variables(phase, ok), phase == Phase::Snapshot);
        let ended = script::run(&Script { command, timeout, variables, answers }, stop);
        let Ended { failure, answer, output, pipes } = ended;
        self.pipes.extend(pipes);
        self.runs.push(ScriptRun { phase, failure, output, seconds: began.elapsed().as_secs_f64() });
        answer
    }

    fn variables(&self, phase: Phase, ok: Option<bool>) -> Vec<(OsString, OsString)> {
        let names: Vec<&str> = self.images.iter().map(|image| image.name.as_str()).collect();
        let mut variables: Vec<(OsString, OsString)> = vec![
            ("ICECORE_PHASE".into(), phase.name().into()),
            ("ICECORE_MACHINE".into(), self.machine.into()),
            ("ICECORE_DISKS".into(), names.join("\n").into()),
            ("ICECORE_DISK_COUNT".into(), names.len().to_string().into()),
        ];
        if let Some(ok) = ok {
            variables.push(("ICECORE_RESULT".into(), if ok { "ok" } else { "failed" }.into()));
        }
        for (number, (image, snapshot)) in (1..).zip(self.images.iter().zip(&self.snapshots)) {
            let mut of_disk =
                |what, value: OsString| variables.push((format!("ICECORE_DISK_{number}_{what}").into(), value));
            of_disk("NAME", image.name.clone().into());
            let path = std::path::absolute(&image.path).unwrap_or_else(|_| image.path.clone());
            of_disk("PATH", path.into_os_string());
            if let Some(path) = snapshot {
                of_disk("SNAPSHOT", path.clone().into_os_string());
            }
        }
        variables
    }
}

impl Drop for Freeze<'_> {
    fn drop(&mut self) {
        self.undo(false);
    }
}
