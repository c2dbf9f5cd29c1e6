//! Lengths of time as people write them.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// Reads a length of time with its units: `90s`, `30m`, `2h`, `1h 30m`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "write it as 90s, 30m or 2h".to_owned())
}

/// Reads a length of time of days or weeks too, each day of 24 hours: `12h`, `14d`, `8w`.
pub fn parse_days(text: &str) -> Result<Duration, String> {
    let days = SpanRelativeTo::days_are_24_hours();
    let duration = text.parse::<Span>().ok().and_then(|span| span.to_duration(days).ok());
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "write it as 12h, 14d or 8w".to_owned())
}

/// A length of time in words, in days where it is some.
pub fn words(seconds: u64) -> String {
    match (seconds / 86_400, seconds % 86_400) {
        (0, _) if seconds < 3600 => format!("{} min", seconds.div_ceil(60)),
        (0, _) => format!("{} h", seconds / 3600),
        (1, 0) => "1 day".to_owned(),
        (days, 0) => format!("{days} days"),
        (days, rest) => format!("{days} d {} h", rest / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, parse, parse_days, words};

    #[test]
    fn days_have_24_hours() {
        let seconds = |text| parse_days(text).map(|duration| duration.as_secs()).ok();
        assert_eq!(
            ["12h", "14d", "8w", "1w 2d"].map(seconds),
            [43_200, 14 * 86_400, 56 * 86_400, 9 * 86_400].map(Some)
        );
        assert_eq!(["", "14", "1mo", "1y", "-3d", "d"].map(seconds), [None; 6]);
        assert_eq!(
            [0, 90, 7200, 86_400, 14 * 86_400, 90_000].map(words),
            ["0 min", "2 min", "2 h", "1 day", "14 days", "1 d 1 h"]
        );
    }

    #[test]
    fn a_length_of_time_has_its_unit() {
        let seconds = |text| parse(text).map(|duration| duration.as_secs());
        assert_eq!(
            ["90s", "30m", "2h", "1h30m", "1h 30m", "0s"].map(|text| seconds(text).ok()),
            [Some(90), Some(1800), Some(7200), Some(5400), Some(5400), Some(0)]
        );
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "90", "m", "-5m", "5 parsecs", "2h ago", "99999999999999999999h"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
