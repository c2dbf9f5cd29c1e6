//! Promise 1, against mistakes: over 30 years a policy drops nothing that it keeps and keeps nothing that it drops; here
//! beside another way to decide the same, and whether it is asked every day or once at the end.

use std::collections::BTreeMap;

use icecore::policy::{Facts, Retention};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// The same by the words of the rules: for each period that has points the last, then the newest so many of them.
fn naive(rules: &[(&str, usize)], points: &[Timestamp], zone: &TimeZone) -> Vec<Timestamp> {
    let mut kept: Vec<Timestamp> = points.iter().max().copied().into_iter().collect();
    for (name, most) in rules {
        let form = match *name {
            "hourly" => "%Y-%m-%d %H %z",
            "daily" => "%Y-%m-%d",
            "weekly" => "%G-%V",
            "monthly" => "%Y-%m",
            _ => "%Y",
        };
        let mut last: BTreeMap<String, Timestamp> = BTreeMap::new();
        for point in points {
            let of = point.to_zoned(zone.clone()).strftime(form).to_string();
            let stands = last.entry(of).or_insert(*point);
            *stands = (*stands).max(*point);
        }
        let mut standing: Vec<Timestamp> = last.into_values().collect();
        standing.sort_unstable();
        kept.extend(standing.into_iter().rev().take(*most));
    }
    kept.sort_unstable();
    kept.dedup();
    kept
}

fn decide(retention: Retention, points: &[Timestamp], now: Timestamp, zone: &TimeZone) -> Vec<Timestamp> {
    let facts: Vec<Facts> =
        points.iter().map(|time| Facts { time: *time, order: 0, is_protected: false, is_incomplete: false }).collect();
    let decisions = retention.decide(&facts, now, zone);
    points.iter().zip(decisions).filter(|(_, decision)| decision.keep).map(|(time, _)| *time).collect()
}

/// Backups every so many hours from 1996 on, of the wall clock of a zone.
fn backups(zone: &TimeZone, hours: i64, years: i64) -> Vec<Timestamp> {
    let begin: DateTime = "1996-01-01T02:30:00".parse().expect("a time");
    let steps = years * 365 * 24 / hours;
    let at = |step: i64| -> Zoned {
        begin.checked_add((step * hours).hours()).expect("a time").to_zoned(zone.clone()).expect("a time of the zone")
    };
    (0..steps).map(|step| at(step).timestamp()).collect()
}

#[test]
fn thirty_years_of_days() {
    for (zone, rules) in [
        ("UTC", vec![("daily", 7), ("weekly", 4), ("monthly", 12), ("yearly", 10)]),
        ("Europe/Berlin", vec![("daily", 14), ("monthly", 36)]),
        ("America/New_York", vec![("weekly", 52), ("yearly", 99)]),
        ("Pacific/Apia", vec![("daily", 3), ("weekly", 3)]),
    ] {
        let zone = TimeZone::get(zone).expect("a zone");
        let text = rules.iter().map(|(name, most)| format!("{name}={most}")).collect::<Vec<_>>().join(",");
        let retention: Retention = text.parse().expect("a retention");
        let all = backups(&zone, 24, 30);
        let most = rules.iter().map(|(_, most)| most).sum::<usize>() + 1;
        let mut kept: Vec<Timestamp> = Vec::new();
        for (day, now) in all.iter().enumerate() {
            kept.push(*now);
            kept = decide(retention, &kept, *now, &zone);
            assert!(kept.len() <= most, "{text}: {} are kept on day {day}", kept.len());
            // The other way looks at all that there ever was.
            if day % 97 == 0 || day + 1 == all.len() {
                assert_eq!(kept, naive(&rules, &all[..=day], &zone), "{text}, day {day}");
            }
        }
        assert_eq!(kept, decide(retention, &all, all[all.len() - 1], &zone), "{text}: once, and every day");
        assert!(kept.len() > most / 4, "{text}: {} are kept", kept.len());
    }
}

#[test]
fn a_year_of_hours_over_changes_of_the_clock() {
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
        let zone = TimeZone::get(zone).expect("a zone");
        let rules = [("hourly", 48), ("daily", 14), ("weekly", 8)];
        let retention: Retention = "hourly=48,daily=14,weekly=8".parse().expect("a retention");
        let all = backups(&zone, 1, 2);
        let mut kept: Vec<Timestamp> = Vec::new();
        for (hour, now) in all.iter().enumerate() {
            kept.push(*now);
            kept = decide(retention, &kept, *now, &zone);
            if hour % 211 == 0 {
                let mut seen = all[..=hour].to_vec();
                seen.sort_unstable();
                seen.dedup();
                let mut kept = kept.clone();
                kept.sort_unstable();
                kept.dedup();
                assert_eq!(kept, naive(&rules, &seen, &zone), "hour {hour}");
            }
        }
        assert!(kept.len() <= 48 + 14 + 8 + 1);
    }
}
