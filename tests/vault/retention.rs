//! Promise 1, against mistakes: over 30 years a policy drops nothing that it keeps and keeps nothing that it drops; here
//! beside another way to decide the same, and whether it is asked every day or once at the end.

use std::collections::BTreeMap;

use icecore::policy::{Facts, Retention};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// The same by the words of the rules: for each period that has points the last, then the newest so many of them; the newest
/// so many points; those that are younger than some days; and nothing, but for the newest, that is older than some days.
fn naive(rules: &[(&str, usize)], points: &[Timestamp], zone: &TimeZone) -> Vec<Timestamp> {
    let newest = points.iter().max().copied();
    let now = newest.unwrap_or(Timestamp::UNIX_EPOCH);
    let is_younger = |point: &Timestamp, days: usize| now.duration_since(*point).as_secs() < days as i64 * 86_400;
    let mut kept: Vec<Timestamp> = newest.into_iter().collect();
    for (name, most) in rules {
        match *name {
            "last" => {
                let mut all = points.to_vec();
                all.sort_unstable();
                kept.extend(all.into_iter().rev().take(*most));
                continue;
            }
            "min-age" => {
                kept.extend(points.iter().filter(|point| is_younger(point, *most)));
                continue;
            }
            "max-age" => continue,
            _ => {}
        }
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
    if let Some((_, days)) = rules.iter().find(|(name, _)| *name == "max-age") {
        let is_kept =
            |point: &Timestamp| Some(*point) == newest || now.duration_since(*point).as_secs() <= *days as i64 * 86_400;
        kept.retain(is_kept);
    }
    kept.sort_unstable();
    kept.dedup();
    kept
}

fn fact(time: Timestamp) -> Facts {
    Facts { time, order: 0, is_protected: false, is_incomplete: false, is_late: false }
}

fn decide(retention: Retention, points: &[Timestamp], now: Timestamp, zone: &TimeZone) -> Vec<Timestamp> {
    let facts: Vec<Facts> = points.iter().map(|time| fact(*time)).collect();
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
        ("UTC", vec![("last", 5), ("monthly", 6), ("min-age", 10)]),
        ("Asia/Kolkata", vec![("last", 30), ("weekly", 20), ("yearly", 99), ("min-age", 3), ("max-age", 2000)]),
        ("America/Sao_Paulo", vec![("daily", 400), ("max-age", 100)]),
    ] {
        let zone = TimeZone::get(zone).expect("a zone");
        let unit = |name: &str| if name.ends_with("age") { "d" } else { "" };
        let rule = |(name, most): &(&str, usize)| format!("{name}={most}{}", unit(name));
        let text = rules.iter().map(rule).collect::<Vec<_>>().join(",");
        let retention: Retention = text.parse().expect("a retention");
        let all = backups(&zone, 24, 30);
        let most = rules.iter().map(|(_, most)| most).sum::<usize>() + 1;
        let mut kept: Vec<Timestamp> = Vec::new();
        for (day, now) in all.iter().enumerate() {
            kept.push(*now);
            kept = decide(retention, &kept, *now, &zone);
            assert!(kept.len() <= most, "{text}: {} are kept on day {day}", kept.len());
            // The other way looks at all that there ever was.
            if day % 31 == 0 || day + 1 == all.len() {
                assert_eq!(kept, naive(&rules, &all[..=day], &zone), "{text}, day {day}");
            }
        }
        assert_eq!(kept, decide(retention, &all, all[all.len() - 1], &zone), "{text}: once, and every day");
        assert!(kept.len() > 3, "{text}: {} are kept", kept.len());
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
