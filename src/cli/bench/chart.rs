//! Shares of stages as bars.

use icecore::bench::StageShare;

/// Columns of the longest bar.
const WIDTH: usize = 28;

/// Stages with less than this part of the processor time are told together.
const LEAST: f64 = 0.01;

/// What bars are drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Letters that every terminal has.
    Ascii,
    /// Blocks, down to an eighth of a column.
    Blocks,
}

impl Style {
    /// Blocks where the locale is one of UTF-8.
    pub fn of_locale() -> Self {
        let set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let name = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(set);
        let locale = name.and_then(|name| std::env::var(name).ok()).unwrap_or_default().to_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::Blocks } else { Self::Ascii }
    }

    /// A bar for a share of 0 to 1.
    fn bar(self, share: f64) -> String {
        const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 224")]
        let eighths = (share.clamp(0.0, 1.0) * WIDTH as f64 * 8.0).round() as usize;
        match self {
            Self::Ascii => "#".repeat((eighths + 4) / 8),
            Self::Blocks => "█".repeat(eighths / 8) + EIGHTHS[eighths % 8],
        }
    }
}

/// A line for each stage of weight, the last for the rest.
pub fn chart(stages: &[StageShare], style: Style) -> Vec<String> {
    let Some((rest, stages)) = stages.split_last() else { return Vec::new() };
    let (shown, small): (Vec<_>, Vec<_>) = stages.iter().partition(|stage| stage.share >= LEAST);
    let rest_share = rest.share + small.iter().map(|stage| stage.share).sum::<f64>();
    let line = |name: &str, share: f64, cycles: f64| {
        let bar = style.bar(share);
        let padding = " ".repeat(WIDTH - bar.chars().count().min(WIDTH));
        let cycles = if cycles > 0.0 { format!("{cycles:6.2} cycles/byte") } else { String::new() };
        format!("  {name:<22} {bar}{padding} {:3.0} % {cycles}", share * 100.0).trim_end().to_owned()
    };
    let mut lines: Vec<String> =
        shown.iter().map(|stage| line(&stage.name, stage.share, stage.cycles_per_byte)).collect();
    lines.push(line(&rest.name, rest_share, 0.0));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_shares() {
        assert_eq!([0.0, 0.5, 1.0].map(|share| Style::Ascii.bar(share).len()), [0, 14, 28]);
        let lengths = [0.0, 0.5, 1.0, 7.0].map(|share| Style::Blocks.bar(share).chars().count());
        assert_eq!(lengths, [0, 14, 28, 28]);
        assert_eq!(Style::Blocks.bar(1.0 / 224.0), "▏");
    }

    #[test]
    fn small_stages_are_told_together_and_lines_fit() {
        let stage = |name: &str, share, cycles_per_byte| StageShare {
            name: name.to_owned(),
            calls: 1,
            bytes: 1,
            processor_seconds: 1.0,
            elapsed_seconds: 1.0,
            share,
            cycles_per_byte,
        };
        let stages = [stage("look up in the index", 0.985, 234.56), stage("b", 0.005, 1.0), stage("rest", 0.01, 0.0)];
        let lines = chart(&stages, Style::Ascii);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].ends_with("  2 %"), "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert_eq!(chart(&[], Style::Ascii), Vec::<String>::new());
    }
}
