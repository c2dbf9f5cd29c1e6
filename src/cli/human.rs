//! Numbers, times and names as people read them.

use std::fmt::Write;

use icecore_fuse::Timestamp;
use jiff::tz::TimeZone;

/// A size: `512 B`, `1.5 KiB`, `12.3 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = approximate(bytes) / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        // What would be printed as 1024.0 is one of the next unit.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A rate in decimal megabytes a second; nothing sensible for no time at all.
pub fn rate(bytes: u64, seconds: f64) -> String {
    format!("{:.0} MB/s", approximate(bytes) / 1e6 / seconds.max(1e-3))
}

/// `1 point`, `2 points`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// A number of bytes as a fraction of another, 0 to 1.
pub fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { approximate(part) / approximate(whole) }
}

#[expect(clippy::cast_precision_loss, reason = "shown to people with at most four digits")]
fn approximate(bytes: u64) -> f64 {
    bytes as f64
}

/// A file's time in UTC; what lies outside jiff's years is shown as seconds.
pub fn time(time: Timestamp) -> String {
    jiff::Timestamp::new(time.seconds, i32::try_from(time.nanoseconds).unwrap_or(0))
        .map_or_else(|_| format!("@{}", time.seconds), moment)
}

/// A file's time for machines, RFC 3339 in UTC with its fraction.
pub fn time_exact(time: Timestamp) -> Option<String> {
    let time = jiff::Timestamp::new(time.seconds, i32::try_from(time.nanoseconds).unwrap_or(0)).ok()?;
    Some(time.to_string())
}

/// A moment in UTC, to the second.
pub fn moment(moment: jiff::Timestamp) -> String {
    moment.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Seconds since 1970 as a time in UTC.
pub fn unix_time(seconds: u64) -> String {
    time(Timestamp { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanoseconds: 0 })
}

/// Lines of cells, padded to columns; the columns `right` are aligned right. Every cell is escaped.
pub fn columns<const N: usize>(lines: &[[String; N]], right: &[usize]) -> Vec<String> {
    let lines: Vec<[String; N]> =
        lines.iter().map(|line| std::array::from_fn(|column| escaped(line[column].as_bytes()))).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let pad = |line: &[String; N]| {
        let cell = |column: usize| {
            let (text, width) = (&line[column], widths[column]);
            if right.contains(&column) { format!("{text:>width$}") } else { format!("{text:<width$}") }
        };
        (0..N).map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(pad).collect()
}

/// Bytes as text that can do nothing to a terminal and stays on its line: control characters, characters that change
/// the direction of writing, and bytes that are no UTF-8 are escaped.
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for character in part.valid().chars() {
            if changes_terminal(character) {
                out.extend(character.escape_default());
            } else {
                out.push(character);
            }
        }
        for byte in part.invalid() {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Whether a character does something else to a terminal than to appear on it where it stands.
pub fn changes_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        let shown = [0, 1023, 1024, 1536, (1 << 20) - 1, 1 << 20, 8 << 30, u64::MAX].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 MiB", "8.0 GiB", "16.0 EiB"]);
    }

    #[test]
    fn names_cannot_drive_a_terminal() {
        assert_eq!(escaped(b"plain \xc3\xa4"), "plain ä");
        assert_eq!(escaped(b"a\x1b[31mb\nc\xff"), "a\\u{1b}[31mb\\nc\\xff");
        assert_eq!(escaped("gnp\u{202e}exe".as_bytes()), "gnp\\u{202e}exe");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(unix_time(1_795_140_000), "2026-11-20 02:00:00Z");
        assert_eq!(time(Timestamp { seconds: i64::MAX, nanoseconds: 0 }), "@9223372036854775807");
    }
}
