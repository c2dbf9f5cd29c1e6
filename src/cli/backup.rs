//! `icecore backup`

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use icecore::Vault;
use icecore::backup::{BackupReport, BackupRequest, Progress};
use icecore::error::Error;
use icecore::point::{Consistency, check_name};
use icecore::quiesce::{DiskImage, Phase, Quiesce, QuiescedBackup, ScriptFailure, ScriptRun};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::arguments::Global;
use super::exit::Exit;
use super::problem::Problem;
use super::progress::{self, State};
use super::salvage::Salvage;
use super::signals::{self, Interrupt};
use super::watch::watched;
use super::{due, duration, human, output, quota, seen, size};

const EXAMPLES: &str = "\
Examples:
  icecore backup web01 --disk os=/images/web01-os.raw --disk data=/dev/loop3
  icecore backup web01 --disk os=/dev/vg/web01-snap --tag before-upgrade --consistency file-system
  icecore backup web01 --disk os=old.raw --time '2026-11-20 02:00'
  icecore backup --due
  icecore backup web01 --disk os=/images/web01.raw --reflink --pre-script 'virsh domfsfreeze web01' \\
      --post-script 'virsh domfsthaw web01' --consistency file-system";

const AFTER_HELP: &str = "\
Scripts: `sh -c` runs each, with ICECORE_PHASE (pre, post, snapshot, release), ICECORE_MACHINE, ICECORE_DISKS (names, one a \
line), ICECORE_DISK_COUNT, ICECORE_DISK_1_NAME and ICECORE_DISK_1_PATH, ..._2_..., for post and release ICECORE_RESULT (ok or \
failed), and for release ICECORE_DISK_1_SNAPSHOT (what was printed) in its environment; no other variable of ICECORE_... reaches \
it. It fails by its exit code, or by taking longer than --hook-timeout: then it gets TERM with all of its process group, and \
KILL 5 s later.

The order is pre-script, snapshot or reflink copy, post-script, reading. With neither of the two in the middle the pre-script \
and the post-script enclose the whole reading. The post-script runs once the pre-script was started, also if that fails, if \
anything else fails, and on Ctrl-C, SIGTERM, SIGHUP or SIGQUIT; none of those cuts it short. Nothing can run it after a \
`kill -9`.";

/// Rotations of the keys that a backup gives way to before it begins.
const MOST_ROTATIONS: usize = 5;

/// Heading of the options that make disks hold still.
const STILL: &str = "Disks that hold still";

/// Back up a machine's disks as a new recovery point
///
/// Reads disks and adds them to the vault as one new recovery point. What the vault has already costs nothing. All
/// disks are read at once. A disk may be a raw image file or a block device.
///
/// Interrupted or failed, it leaves no point, and the vault as usable as before. So it does where it would go beyond a hard
/// quota (`icecore quota`).
///
/// With --due, it backs up every machine that `icecore machine set` put under a policy and that is due: the policy's schedule
/// says so, and no point was made since. Start it at least as often as the shortest schedule, from a timer or from cron; every 15
/// minutes is fine: when nothing is due, it says so and ends with 0. A machine that fails does not stop the others; two that run at once make no point twice.
/// Ends with 3 where some machines failed, with 1 where all did. Needs a key of role backup, no more.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{AFTER_HELP}\n\n{EXAMPLES}"))]
pub struct Arguments {
    /// The machine's name
    #[arg(value_parser = |text: &str| name("machine name", text), required_unless_present = "due")]
    pub(super) machine: Option<String>,
    /// A disk: the name that it gets in the point, and the file or device to read; give it once for each disk
    #[arg(long = "disk", value_name = "NAME=PATH", value_parser = parse_disk, value_hint = ValueHint::FilePath)]
    #[arg(required_unless_present = "due")]
    disks: Vec<Disk>,
    /// Back up the machines that are due by their policies; or the one that is named, if that is due
    #[arg(long, conflicts_with_all = ["disks", "tags", "time", "consistency", "pre_script", "snapshot_command", "reflink", "hook_timeout"])]
    due: bool,
    /// With --due, only list the machines that are
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// A label for the point; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// The moment that the point stands for, in UTC unless it has an offset [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<Timestamp>,
    /// How consistent the disks are: as after a power cut, file systems frozen, or applications made ready too [default:
    /// application with a pre-script, else crash]
    #[arg(long, value_enum, value_name = "LEVEL")]
    consistency: Option<Level>,
    /// Shell command that makes the machine hold still before its disks are read
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString, help_heading = STILL)]
    pre_script: Option<String>,
    /// Shell command that lets it go on; runs whenever the pre-script was started
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString, requires = "pre_script")]
    #[arg(help_heading = STILL)]
    post_script: Option<String>,
    /// How long each command may take, as 90s or 5m, and --reflink
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse, help_heading = STILL)]
    hook_timeout: Duration,
    /// Where the pre-script or the post-script fails, make the point all the same, and call it crash-consistent
    #[arg(long, requires = "pre_script", help_heading = STILL)]
    allow_crash: bool,
    /// Shell command that makes a snapshot, prints NAME=PATH for each disk, and is called again to remove it
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString, conflicts_with = "reflink")]
    #[arg(help_heading = STILL)]
    snapshot_command: Option<String>,
    /// Read copies of the images that share their blocks, made in an instant on XFS and btrfs and never seen by anybody. The
    /// pre-script must not freeze the file system that holds the images: the copies are made on it, within --hook-timeout
    #[arg(long, help_heading = STILL)]
    reflink: bool,
    /// Make those copies in this directory of the same file system, instead of beside each image
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, requires = "reflink", help_heading = STILL)]
    snapshot_dir: Option<PathBuf>,
    /// Where a disk can't be read, leave that range out and say so, instead of making no point
    #[arg(long)]
    allow_incomplete: bool,
    /// Do not decode and compare what was stored before the point is acknowledged
    #[arg(long)]
    no_verify: bool,
    /// Threads that read, hash, compress and seal [default: one for each core]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// How much is fetched from the disks ahead of the workers: more keeps slow media streaming
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size::parse)]
    read_ahead: u64,
}

/// A disk, by its name in points and where it is.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its name in the points.
    pub name: String,
    /// The file or device.
    pub path: PathBuf,
}

/// How consistent disks are.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Level {
    /// As after a power cut.
    Crash,
    /// File systems frozen.
    FileSystem,
    /// Applications made ready too.
    Application,
}

impl From<Level> for Consistency {
    fn from(level: Level) -> Self {
        match level {
            Level::Crash => Self::Crash,
            Level::FileSystem => Self::FileSystem,
            Level::Application => Self::Application,
        }
    }
}

/// The name of a machine or disk.
pub fn name(what: &'static str, text: &str) -> Result<String, String> {
    check_name(what, text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// `NAME=PATH`.
pub fn parse_disk(text: &str) -> Result<Disk, String> {
    match text.split_once('=') {
        Some((disk, path)) if !path.is_empty() => Ok(Disk { name: name("disk name", disk)?, path: path.into() }),
        _ => Err("write it as NAME=PATH, such as os=/images/web01.raw".to_owned()),
    }
}

/// A time with an offset, one without (UTC), a date alone (its midnight), or the name of a point.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let utc = |time: DateTime| time.to_zoned(TimeZone::UTC).map(|time| time.timestamp());
    text.parse::<Timestamp>()
        .or_else(|_| text.parse::<DateTime>().and_then(utc))
        .or_else(|_| DateTime::strptime("%Y-%m-%dT%H-%M-%SZ", text).and_then(utc))
        .map_err(|_| "write it as 2026-11-20T02:00:00Z or '2026-11-20 02:00'".to_owned())
}

/// Backs up.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    if arguments.due {
        return due::run(arguments, global);
    }
    if arguments.dry_run {
        return Err(Problem::usage("--dry-run lists what is due", "add --due, or leave it out"));
    }
    // Before anybody is asked for a password; the engine checks it again.
    for (number, disk) in arguments.disks.iter().enumerate() {
        if arguments.disks.iter().take(number).any(|before| before.name == disk.name) {
            return Err(Error::DuplicateDisk { name: disk.name.clone() }.into());
        }
    }
    let mut vault = global.open_with_signals_as_they_are(Salvage::default())?;
    let quiesce = quiesce(arguments);
    let noted = if quiesce.is_something() { Interrupt::noted_to_the_end } else { Interrupt::noted };
    let interrupt = noted().map_err(signals::refused)?;
    let images: Vec<DiskImage> = arguments.disks.iter().map(|disk| DiskImage::new(&disk.name, &disk.path)).collect();
    let mut backup = transfer(&vault, request(arguments), &images, &quiesce, global, &interrupt);
    for _ in 0..MOST_ROTATIONS {
        if !matches!(&backup.outcome, Err(Error::Rotated { .. })) || !backup.runs.is_empty() {
            break;
        }
        // The keys were rotated since: it waited for that. The same key opens the vault with the new ones.
        vault = global.open_with_signals_as_they_are(Salvage::default())?;
        backup = transfer(&vault, request(arguments), &images, &quiesce, global, &interrupt);
    }
    let QuiescedBackup { outcome, runs } = backup;
    // What ended the backup is told as that; what failed besides must not be missed: a machine may still be frozen.
    tell_runs(&runs, outcome.as_ref().err(), global);
    let report = outcome?;
    seen::look(&vault, global.json, true);
    tell(&report, &runs, global)?;
    let latest = vault.point(&report.point.machine, "latest")?;
    if latest.id != report.point.id {
        let is = if report.point.time > latest.time { "of a time to come" } else { "older" };
        let text = format!("{} is {is}; {} stays the latest", report.point.name, latest.name);
        output::warning(&text, global.json);
    }
    let all = report.missing().next().is_none() && runs.iter().all(|run| run.failure.is_none());
    Ok(if all { Exit::Done } else { Exit::Incomplete })
}

fn quiesce(arguments: &Arguments) -> Quiesce {
    Quiesce {
        pre_script: arguments.pre_script.clone(),
        post_script: arguments.post_script.clone(),
        timeout: arguments.hook_timeout,
        snapshot_command: arguments.snapshot_command.clone(),
        reflink: arguments.reflink,
        snapshot_dir: arguments.snapshot_dir.clone(),
        consistency: arguments.consistency.map(Consistency::from),
        allow_crash: arguments.allow_crash,
    }
}

fn request(arguments: &Arguments) -> BackupRequest {
    let mut request = BackupRequest::new(arguments.machine.as_deref().unwrap_or_default());
    request.time = arguments.time;
    request.tags.clone_from(&arguments.tags);
    set_ways(arguments, &mut request);
    request
}

/// How a backup is made, whatever it is of.
pub(super) fn set_ways(arguments: &Arguments, request: &mut BackupRequest) {
    request.allow_incomplete = arguments.allow_incomplete;
    request.verify = !arguments.no_verify;
    request.workers = arguments.workers.map(NonZeroUsize::get);
    request.read_ahead_bytes = arguments.read_ahead;
}

/// Backs up, and shows how far it is.
pub(super) fn transfer(
    vault: &Vault,
    request: BackupRequest,
    images: &[DiskImage],
    quiesce: &Quiesce,
    global: &Global,
    interrupt: &Interrupt,
) -> QuiescedBackup {
    let progress = Progress::default();
    let watcher = progress::watcher(global, || {
        let state = |disk: &icecore::backup::DiskProgress| State {
            name: disk.name.clone(),
            total_bytes: disk.size_bytes,
            done_bytes: disk.done_bytes(),
            new_bytes: Some(disk.new_bytes()),
        };
        progress.disks().iter().map(state).collect()
    });
    watched(interrupt, watcher, || progress.cancel(), || vault.backup_quiesced(request, images, quiesce, &progress))
}

/// Warns of what failed, but for the script that `error` tells of.
pub(super) fn tell_runs(runs: &[ScriptRun], error: Option<&Error>, global: &Global) {
    let told = match error {
        Some(Error::Script { phase, .. }) => Some(*phase),
        // It was stopped because of the signal, which is told.
        Some(Error::Interrupted) => {
            runs.iter().find_map(|run| matches!(run.failure, Some(ScriptFailure::Interrupted)).then_some(run.phase))
        }
        _ => None,
    };
    for run in runs.iter().filter(|run| Some(run.phase) != told) {
        let Some(error) = run.error() else { continue };
        let then = match run.phase {
            Phase::Post => "the machine may still be held",
            Phase::Release => "the snapshot may still be there",
            Phase::Pre | Phase::Snapshot => "the point is crash-consistent at most",
        };
        output::warning(&format!("{error}; {then}"), global.json);
    }
}

/// What a backup did, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    size: u64,
    read: u64,
    zero: u64,
    new: u64,
    stored: u64,
}

impl Totals {
    fn of(report: &BackupReport) -> Self {
        report.manifest.disks.iter().fold(Self::default(), |sum, disk| Self {
            size: sum.size + disk.size_bytes,
            read: sum.read + disk.read_bytes,
            zero: sum.zero + disk.zero_bytes,
            new: sum.new + disk.new_bytes,
            stored: sum.stored + disk.stored_bytes,
        })
    }

    /// Bytes that the vault had already.
    fn deduplicated(self) -> u64 {
        self.size.saturating_sub(self.zero).saturating_sub(self.new)
    }
}

/// Tells what a backup did.
pub(super) fn tell(report: &BackupReport, runs: &[ScriptRun], global: &Global) -> Result<(), Problem> {
    let totals = Totals::of(report);
    let path = report.point.path();
    for known in &report.quota_warnings {
        output::notice(&quota::sentence(known), global.json);
    }
    if global.json {
        let missing: Vec<_> = report
            .missing()
            .map(|(disk, range)| json!({"disk": disk, "start": range.start, "end": range.end}))
            .collect();
        return output::json(&json!({
            "message_type": "summary",
            "machine": report.point.machine,
            "point": report.point.name,
            "id": report.point.id,
            "path": path,
            "time": report.manifest.time,
            "consistency": report.manifest.consistency,
            "quiesced": report.manifest.quiesced,
            "scripts": runs.iter().map(run_json).collect::<Vec<_>>(),
            "tags": report.manifest.tags,
            "disks": report.manifest.disks,
            "total_bytes": totals.size,
            "read_bytes": totals.read,
            "zero_bytes": totals.zero,
            "new_bytes": totals.new,
            "stored_bytes": totals.stored,
            "deduplicated_bytes": totals.deduplicated(),
            "added_bytes": report.added_bytes,
            "seconds": report.seconds,
            "missing": missing,
            "quota_warnings": report.quota_warnings.iter().map(quota::value).collect::<Vec<_>>(),
        }));
    }
    for (disk, range) in report.missing() {
        let text =
            format!("disk {disk:?} bytes {}..{} could not be read and are missing from {path}", range.start, range.end);
        output::warning(&text, false);
    }
    if global.quiet {
        return Ok(());
    }
    let disks = human::count(report.manifest.disks.len() as u64, "disk", "disks");
    output::line(&format!("{path} ({}): {disks}, {}", &report.point.id[..8], human::size(totals.size)))?;
    output::line(&format!(
        "{:.1} s, read {} ({}), new {}, stored {}, deduplicated {}, zeros {}",
        report.seconds,
        human::size(totals.read),
        human::rate(totals.read, report.seconds),
        human::size(totals.new),
        human::size(report.added_bytes),
        human::size(totals.deduplicated()),
        human::size(totals.zero),
    ))
}

fn run_json(run: &ScriptRun) -> Value {
    json!({
        "phase": run.phase,
        "failure": run.failure.as_ref().map(ToString::to_string),
        "output": run.output,
        "seconds": run.seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        let expected: Timestamp = "2026-11-20T02:00:00Z".parse().expect("a time");
        let forms = ["2026-11-20T02:00:00Z", "2026-11-20 02:00", "2026-11-20T03:00:00+01:00", "2026-11-20T02-00-00Z"];
        for form in forms {
            assert_eq!(parse_time(form), Ok(expected), "{form}");
        }
        assert_eq!(parse_time("2026-11-20").ok(), "2026-11-20T00:00:00Z".parse().ok());
        assert!(parse_time("yesterday").is_err());
    }

    #[test]
    fn a_path_may_hold_an_equals_sign() {
        let disk = parse_disk("os=/a=b").expect("a disk");
        assert_eq!((disk.name.as_str(), disk.path), ("os", PathBuf::from("/a=b")));
        assert!(parse_disk("os").is_err() && parse_disk("=x").is_err() && parse_disk("os=").is_err());
    }
}
