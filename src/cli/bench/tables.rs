//! A bench's report as a person reads it, at most 80 columns wide.

use icecore::bench::{Primitive, Report, Run};

use super::super::human;
use super::super::output::Output;
use super::super::problem::Problem;
use super::chart::{Style, chart};

/// Columns of a plain terminal.
const COLUMNS: usize = 80;

/// Tells everything.
pub fn tell(report: &Report, out: &mut Output) -> Result<(), Problem> {
    let mut lines = heading(report);
    lines.push(String::new());
    lines.extend(primitives(&report.primitives, report.setting.workers));
    lines.extend(medium(report));
    lines.push(String::new());
    lines.extend(runs(&report.runs));
    for missing in &report.not_measured {
        lines.extend(wrapped(&format!("not measured: {}: {}", missing.name, missing.why)));
    }
    lines.extend(notes(report));
    let style = Style::of_locale();
    for run in &report.runs {
        lines.push(String::new());
        lines.extend(wrapped(&format!("{}: {}", run.name, run.limit.text)));
        lines.extend(chart(&run.stages, style));
    }
    lines.push(String::new());
    lines.extend(wrapped(&report.conclusion));
    lines.iter().try_for_each(|line| out.line(line))
}

fn heading(report: &Report) -> Vec<String> {
    let (machine, setting) = (&report.machine, &report.setting);
    let path = |path: &std::path::Path| human::escaped(path.as_os_str().as_encoded_bytes());
    let what = setting.disk.as_deref().map_or_else(|| "a disk that is made up".to_owned(), path);
    let mut lines = wrapped(&format!(
        "icecore {} on {}, {} at about {:.1} GHz, {} of memory, {}",
        machine.version,
        machine.processor,
        human::count(machine.cores as u64, "core", "cores"),
        machine.clock_hz / 1e9,
        human::size(machine.memory_bytes),
        machine.kernel,
    ));
    lines.extend(wrapped(&format!(
        "Disk: {what}, {} with {} in use, stored as {} ({:.0} %), chunks of {}, zstd level {}",
        human::size(setting.size_bytes),
        human::size(setting.used_bytes),
        human::size(setting.stored_bytes),
        human::fraction(setting.stored_bytes, setting.used_bytes) * 100.0,
        human::size(setting.chunk_bytes.into()),
        setting.level,
    )));
    lines.extend(wrapped(&format!(
        "Vault: for a moment in {} ({})",
        path(&setting.directory),
        report.medium.file_system
    )));
    lines
}

fn primitives(primitives: &[Primitive], workers: usize) -> Vec<String> {
    let all = human::count(workers as u64, "core", "cores").to_uppercase();
    let mut lines = vec![["PARTS, MB/s".to_owned(), "1 CORE".to_owned(), all, "CYCLES/BYTE".to_owned()]];
    lines.extend(primitives.iter().map(|part| {
        [
            part.name.clone(),
            format!("{:.0}", part.one_core_bytes_per_second / 1e6),
            format!("{:.0}", part.all_cores_bytes_per_second / 1e6),
            format!("{:.2}", part.cycles_per_byte),
        ]
    }));
    human::columns(&lines, &[1, 2, 3])
}

fn medium(report: &Report) -> Vec<String> {
    let medium = &report.medium;
    let mut lines = wrapped(&format!(
        "write and fsync: {:.0} MB/s; least commit (4 KiB, two fsyncs): {:.1} ms",
        medium.write_sync_bytes_per_second / 1e6,
        medium.small_sync_seconds * 1e3
    ));
    if medium.is_memory {
        lines.push("That directory is in memory, where fsync costs nothing. Try --dir on a disk.".to_owned());
    }
    lines
}

fn runs(runs: &[Run]) -> Vec<String> {
    let header = ["RUNS", "RATE", "SECONDS", "POSSIBLE", "REACHED", "BUSY"].map(str::to_owned);
    let mut lines = vec![header];
    lines.extend(runs.iter().map(|run| {
        let (rate, possible) = match run.reads_per_second {
            Some(reads) => (format!("{reads:.0} /s"), format!("{:.0} /s", reads / run.bound.reached.max(1e-9))),
            None => (megabytes(run.bytes_per_second), megabytes(run.bound.bytes_per_second)),
        };
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        let seconds = format!("{:.2}", run.seconds);
        [run.name.clone(), rate, seconds, possible, percent(run.bound.reached), percent(run.busy)]
    }));
    human::columns(&lines, &[1, 2, 3, 4, 5])
}

fn megabytes(bytes_per_second: f64) -> String {
    format!("{:.0} MB/s", bytes_per_second / 1e6)
}

fn notes(report: &Report) -> Vec<String> {
    let mut text = "Rates count used bytes of the disk; POSSIBLE is what the parts alone allow.".to_owned();
    let backup = report.runs.first().map_or(0, |run| run.peak_memory_bytes);
    text += &format!(" Most memory: {} in the first backup.", human::size(backup));
    if !report.setting.cached {
        text += " The disk is too large for the page cache: it was read from its medium.";
    }
    if !report.machine.optimized {
        text += " THIS ICECORE WAS BUILT WITHOUT OPTIMISATION: no number here means anything.";
    }
    let others = report.runs.iter().map(|run| run.others).fold(0.0, f64::max);
    if others > 0.1 {
        text +=
            &format!(" Other programs used up to {:.0} % of the cores: measure again when they rest.", others * 100.0);
    }
    let stolen = report.runs.iter().map(|run| run.stolen).fold(0.0, f64::max);
    if stolen > 0.03 {
        text += &format!(" The host took away up to {:.0} % of the processor's time.", stolen * 100.0);
    }
    wrapped(&text)
}

/// A text in lines that fit, broken between words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_break_between_words() {
        let text = "word ".repeat(40);
        let lines = wrapped(text.trim_end());
        assert!(lines.len() == 3 && lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:?}");
        assert_eq!(lines.join(" "), text.trim_end());
        assert_eq!(wrapped(&"x".repeat(100)).len(), 1, "what has no spaces stays whole");
    }
}
