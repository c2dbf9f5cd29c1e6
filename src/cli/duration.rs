//! Lengths of time as people write them.

use std::time::Duration;

use jiff::SignedDuration;

/// Reads a length of time with its units: `90s`, `30m`, `2h`, `1h 30m`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "write it as 90s, 30m or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Duration, parse};

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
