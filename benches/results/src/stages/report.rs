//! The report of `icecore bench --json` as Markdown.
//!
//! Fields that are not there become a dash: the command may tell more or less than it does today.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::table::number;

/// Stages below this part of a run's processor time are told together.
const LEAST_SHARE: f64 = 0.005;

/// All of it.
pub fn markdown(report: &Value) -> Result<String> {
    ensure!(!list(report, "runs").is_empty(), "the report has no runs");
    let mut text = format!("{}\n\n{}\n{}\n", setting(report), runs(report), parts(report));
    for run in list(report, "runs") {
        text += &stages(run);
    }
    for missing in list(report, "not_measured") {
        text += &format!("- not measured: {}: {}\n", words(missing, "name"), words(missing, "why"));
    }
    if let Some(conclusion) = report["conclusion"].as_str() {
        text += &format!("\n{conclusion}\n");
    }
    Ok(text)
}

fn setting(report: &Value) -> String {
    let (setting, medium) = (&report["setting"], &report["medium"]);
    format!(
        "`icecore bench` on the OS disk of day 2: {size} MB, {used} MB of them used, stored as {stored} MB; chunks of {chunk} \
         KiB, zstd {level}. The vault is on {file_system}: {write} MB/s written and synced, {commit} ms for the least \
         commit. Rates count used bytes; \"possible\" is what the parts alone would allow, each byte through each part that \
         it must pass.",
        size = scaled(&setting["size_bytes"], 1e6, 0),
        used = scaled(&setting["used_bytes"], 1e6, 0),
        stored = scaled(&setting["stored_bytes"], 1e6, 0),
        chunk = scaled(&setting["chunk_bytes"], 1024.0, 0),
        level = scaled(&setting["level"], 1.0, 0),
        file_system = words(medium, "file_system"),
        write = scaled(&medium["write_sync_bytes_per_second"], 1e6, 0),
        commit = scaled(&medium["small_sync_seconds"], 1e-3, 1),
    )
}

fn runs(report: &Value) -> String {
    let mut table = line(["run", "s", "rate", "possible", "reached", "cores busy", "others", "memory, MB"]);
    table += &line(["---", "---:", "---:", "---:", "---:", "---:", "---:", "---:"]);
    for run in list(report, "runs") {
        let rate = if run["reads_per_second"].is_number() {
            format!("{} /s", scaled(&run["reads_per_second"], 1.0, 0))
        } else {
            format!("{} MB/s", scaled(&run["bytes_per_second"], 1e6, 0))
        };
        table += &line([
            words(run, "name"),
            &scaled(&run["seconds"], 1.0, 2),
            &rate,
            &possible(run),
            &percent(&run["bound"]["reached"]),
            &percent(&run["busy"]),
            &percent(&run["others"]),
            &scaled(&run["peak_memory_bytes"], 1e6, 0),
        ]);
    }
    table
}

/// Of single reads it is not told, but follows from how much of it was reached.
fn possible(run: &Value) -> String {
    let bound = &run["bound"];
    match (run["reads_per_second"].as_f64(), bound["reached"].as_f64()) {
        (Some(reads), Some(reached)) if reached > 0.0 => format!("{} /s", number(reads / reached, 0)),
        (Some(_), _) => "-".to_owned(),
        (None, _) => format!("{} MB/s", scaled(&bound["bytes_per_second"], 1e6, 0)),
    }
}

fn parts(report: &Value) -> String {
    let mut table = line(["part", "one core, MB/s", "all cores, MB/s", "cycles/byte"]);
    table += &line(["---", "---:", "---:", "---:"]);
    for part in list(report, "primitives") {
        table += &line([
            words(part, "name"),
            &scaled(&part["one_core_bytes_per_second"], 1e6, 0),
            &scaled(&part["all_cores_bytes_per_second"], 1e6, 0),
            &scaled(&part["cycles_per_byte"], 1.0, 2),
        ]);
    }
    table
}

/// One run's stages, the heaviest first, the small ones in one line.
fn stages(run: &Value) -> String {
    let share = |stage: &Value| stage["share"].as_f64().unwrap_or(0.0);
    let (mut shown, small): (Vec<&Value>, Vec<&Value>) =
        list(run, "stages").iter().partition(|stage| share(stage) >= LEAST_SHARE);
    if shown.is_empty() {
        return String::new();
    }
    shown.sort_by(|a, b| share(b).total_cmp(&share(a)));
    let mut text = format!("### {}\n\n{}.\n\n", words(run, "name"), words(&run["limit"], "text").trim_end_matches('.'));
    text += &line(["stage", "share", "cycles/byte", "MB in", "calls", "processor, s", "elapsed, s"]);
    text += &line(["---", "---:", "---:", "---:", "---:", "---:", "---:"]);
    for stage in shown {
        text += &line([
            words(stage, "name"),
            &percent(&stage["share"]),
            &scaled(&stage["cycles_per_byte"], 1.0, 2),
            &scaled(&stage["bytes"], 1e6, 0),
            &scaled(&stage["calls"], 1.0, 0),
            &scaled(&stage["processor_seconds"], 1.0, 2),
            &scaled(&stage["elapsed_seconds"], 1.0, 2),
        ]);
    }
    if !small.is_empty() {
        let rest = format!("{:.1} %", small.into_iter().map(share).sum::<f64>() * 100.0);
        text += &line(["stages below 0.5 %", &rest, "", "", "", "", ""]);
    }
    text + "\n"
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn words<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

/// A number in another unit; nothing counts as not there.
fn scaled(value: &Value, unit: f64, digits: usize) -> String {
    value.as_f64().map_or("-".to_owned(), |figure| number(figure / unit, digits))
}

fn percent(value: &Value) -> String {
    value.as_f64().map_or("-".to_owned(), |part| format!("{:.0} %", part * 100.0))
}

fn line<const N: usize>(cells: [&str; N]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::markdown;
    use serde_json::json;

    #[test]
    fn heavy_stages_come_first_and_light_ones_together() {
        let stage =
            |name: &str, share: f64| json!({"name": name, "share": share, "cycles_per_byte": 1.5, "bytes": 2e6});
        let stages = [stage("hash", 0.2), stage("compress", 0.79), stage("lock", 0.004), stage("map", 0.003)];
        let run =
            json!({"name": "first backup", "seconds": 5.0, "limit": {"text": "The cores are busy."}, "stages": stages});
        let text = markdown(&json!({"runs": [run]})).unwrap();
        let (compress, hash) = (text.find("| compress | 79 % | 1.50 | 2 | - |"), text.find("| hash | 20 % |"));
        assert!(compress.is_some() && compress < hash, "{text}");
        assert!(text.contains("| stages below 0.5 % | 0.7 % |") && !text.contains("lock"), "{text}");
    }

    #[test]
    fn single_reads_have_a_rate_of_their_own() {
        let run = json!({"name": "random reads", "reads_per_second": 12000.0, "bound": {"reached": 0.5}});
        let text = markdown(&json!({"runs": [run]})).unwrap();
        assert!(text.contains("| random reads | - | 12,000 /s | 24,000 /s | 50 % |"), "{text}");
        assert!(markdown(&json!({})).is_err());
    }
}
