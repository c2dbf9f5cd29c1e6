//! Retention: the newest points, and one of each hour, day, week, month and year.
//!
//! A period is stood for by its last point. So a point that is dropped, since a later one of its period is there or its
//! period is too long ago, is never wanted again: deciding every day drops what deciding once would. A period counts only if
//! it has a point: a machine that was off for a year loses nothing by that.
//!
//! Invariants:
//! - the newest point of a machine is kept whatever a policy says, and so is what is protected;
//! - what keeps nothing but that is no policy;
//! - a point that could not be read whole stands for a period only where no other does; next to last comes one that was made
//!   long after its moment: who may add points must not be able to make true ones unneeded by others of their day;
//! - a point of a time that is still to come is kept and stands for nothing: neither is it the newest, nor does it take the
//!   place of a true one in any count. A wrong clock makes such points, and so can whoever has a key that adds points;
//! - the decision depends on nothing but the points, the time and the zone; not on the order in which they are given.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::error::{Error, Result};

/// Most of anything that is kept by number.
const MOST: u32 = 1_000_000;

/// Longest age, in seconds: a thousand years of 365 days.
const MOST_AGE_SECONDS: i64 = 1000 * 365 * DAY;

/// By how much a point's time may be ahead of the clock of whoever decides, in seconds: clocks that are set by the network
/// differ by less, and it is what Kerberos allows. It is far shorter than any period, so that who makes points of a time to
/// come gains nothing by it: he could as well make them now.
const TOLERANCE_SECONDS: i64 = 300;

/// How long after its moment a point is made, at most, where it is a backup of then, in seconds: reading takes a while.
const LATE_SECONDS: i64 = 6 * HOUR;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// What to keep. As text: `last=5,daily=7,weekly=4,monthly=12,yearly=10,min-age=2d,max-age=10y`; ages in hours, days, weeks
/// and years of 365 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    last: u32,
    periods: [u32; Period::ALL.len()],
    min_age_seconds: Option<i64>,
    max_age_seconds: Option<i64>,
}

/// What one point is kept of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// As a policy names it.
    fn name(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// What all moments of one period have in common, and no others. Hours are those of the time line: the two that a
    /// clock shows twice when it is set back are two. A week is that of ISO 8601.
    fn key(self, time: &Zoned) -> (i64, i64) {
        let year = i64::from(time.year());
        match self {
            Self::Hour => (
                time.timestamp().as_second().saturating_add(time.offset().seconds().into()).div_euclid(HOUR),
                time.offset().seconds().into(),
            ),
            Self::Day => (year, time.day_of_year().into()),
            Self::Week => {
                let week = time.date().iso_week_date();
                (week.year().into(), week.week().into())
            }
            Self::Month => (year, time.month().into()),
            Self::Year => (year, 0),
        }
    }
}

/// What is known of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The moment that it stands for.
    pub time: Timestamp,
    /// Tells points of one moment apart: a higher one was made later.
    pub order: u64,
    /// Whether somebody holds it.
    pub is_protected: bool,
    /// Whether parts of its disks could not be read when it was made.
    pub is_incomplete: bool,
    /// Whether it was made long after the moment that it stands for, see [`is_late`].
    pub is_late: bool,
}

/// Why a point is kept or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No other of its machine is newer.
    Newest,
    /// Its time is still to come: it stands for nothing.
    Future,
    /// Somebody holds it.
    Protected,
    /// It is younger than the least age, in seconds.
    Young(i64),
    /// It is one of the newest: which, and of how many.
    Last(u32, u32),
    /// It stands for a period: the name, which, and of how many.
    Period(&'static str, u32, u32),
    /// It is older than the greatest age, in seconds.
    Old(i64),
    /// Nothing keeps it.
    Unneeded,
}

/// What becomes of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it stays.
    pub keep: bool,
    /// Why; one reason where it is dropped.
    pub why: Vec<Reason>,
}

impl Retention {
    /// Decides on all points of one machine; the decisions in the order of the points. Periods are those of `zone`.
    pub fn decide(&self, points: &[Facts], now: Timestamp, zone: &TimeZone) -> Vec<Decision> {
        let mut newest_first: Vec<usize> =
            (0..points.len()).filter(|number| !is_future(points[*number].time, now)).collect();
        newest_first.sort_by_key(|number| std::cmp::Reverse((points[*number].time, points[*number].order)));
        let mut why: Vec<Vec<Reason>> = vec![Vec::new(); points.len()];
        if let Some(newest) = newest_first.first() {
            why[*newest].push(Reason::Newest);
        }
        for (reasons, point) in why.iter_mut().zip(points) {
            if is_future(point.time, now) {
                reasons.push(Reason::Future);
            }
            let age = now.duration_since(point.time).as_secs();
            if point.is_protected {
                reasons.push(Reason::Protected);
            }
            if let Some(least) = self.min_age_seconds.filter(|least| age < *least && !is_future(point.time, now)) {
                reasons.push(Reason::Young(least));
            }
        }
        for (number, point) in (1..=self.last).zip(&newest_first) {
            why[*point].push(Reason::Last(number, self.last));
        }
        for (period, most) in Period::ALL.into_iter().zip(self.periods) {
            for (number, point) in (1..=most).zip(standing(&newest_first, points, period, zone)) {
                why[point].push(Reason::Period(period.name(), number, most));
            }
        }
        let decide = |(reasons, point): (Vec<Reason>, &Facts)| {
            let age = now.duration_since(point.time).as_secs();
            let is_held = reasons.iter().any(|reason| matches!(reason, Reason::Newest | Reason::Protected));
            match self.max_age_seconds.filter(|most| age > *most && !is_held) {
                Some(most) => Decision { keep: false, why: vec![Reason::Old(most)] },
                None if reasons.is_empty() => Decision { keep: false, why: vec![Reason::Unneeded] },
                None => Decision { keep: true, why: reasons },
            }
        };
        why.into_iter().zip(points).map(decide).collect()
    }
}

impl Retention {
    /// Whether this keeps less than another in anything: fewer of the newest points, fewer of any period, a smaller least
    /// age, or a smaller greatest age. What is not said is none of those, and no greatest age at all. What it keeps more of
    /// makes up for nothing.
    pub fn shortens(&self, other: &Self) -> bool {
        let greatest = |retention: &Self| retention.max_age_seconds.unwrap_or(i64::MAX);
        self.last < other.last
            || self.periods.iter().zip(other.periods).any(|(own, others)| *own < others)
            || self.min_age_seconds < other.min_age_seconds
            || greatest(self) < greatest(other)
    }
}

/// The points that stand for periods, the newest period first.
fn standing<'a>(
    newest_first: &'a [usize],
    points: &'a [Facts],
    period: Period,
    zone: &'a TimeZone,
) -> impl Iterator<Item = usize> + 'a {
    let rank = move |number: usize| (points[number].is_incomplete, points[number].is_late);
    let key = move |number: usize| period.key(&points[number].time.to_zoned(zone.clone()));
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = *newest_first.get(at)?;
        let of = key(first);
        let mut stands = first;
        while let Some(next) = newest_first.get(at).filter(|next| key(**next) == of) {
            if rank(*next) < rank(stands) {
                stands = *next;
            }
            at += 1;
        }
        Some(stands)
    })
}

/// Whether a point's time is later than now, and by more than clocks differ. Nothing may be decided by such a time.
pub fn is_future(time: Timestamp, now: Timestamp) -> bool {
    time.duration_since(now).as_secs() > TOLERANCE_SECONDS
}

/// Whether a point was made so long after its moment that it is no backup of then, but something that is called so, as an image
/// of earlier that was taken in, a copy, or a forgery.
pub fn is_late(time: Timestamp, made: Timestamp) -> bool {
    made.duration_since(time).as_secs() > LATE_SECONDS
}

/// A time that an entry tells, as far as the clock at hand lets it be: what is to come has not been yet.
pub(crate) fn not_after(unix_seconds: i64, now: Timestamp) -> i64 {
    unix_seconds.min(now.as_second().saturating_add(TOLERANCE_SECONDS))
}

impl FromStr for Retention {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |value: &str, rule| Error::Invalid { what: "retention", value: value.to_owned(), rule };
        let mut retention = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let rule = "write it as last=5,hourly=24,daily=7,weekly=4,monthly=12,yearly=10,min-age=2d,max-age=10y";
            let (name, value) = part.split_once('=').ok_or_else(|| invalid(part, rule))?;
            if seen.contains(&name) {
                return Err(invalid(part, "each may be given once"));
            }
            seen.push(name);
            let number = || {
                let number = value.parse::<u32>().ok().filter(|number| (1..=MOST).contains(number));
                number.ok_or_else(|| invalid(part, "it must be a number from 1 to a million"))
            };
            let age = || age_of(value).ok_or_else(|| invalid(part, "write an age as 12h, 30d, 8w or 10y"));
            let period = Period::ALL.into_iter().position(|period| period.name() == name);
            match (name, period) {
                (_, Some(period)) => retention.periods[period] = number()?,
                ("last", _) => retention.last = number()?,
                ("min-age", _) => retention.min_age_seconds = Some(age()?),
                ("max-age", _) => retention.max_age_seconds = Some(age()?),
                _ => return Err(invalid(part, rule)),
            }
        }
        let keeps_by_number = retention.last > 0 || retention.periods.iter().any(|number| *number > 0);
        if !keeps_by_number && retention.min_age_seconds.is_none() {
            return Err(invalid(text, "it would keep nothing but the newest point: add last=, daily= or min-age="));
        }
        if let (Some(least), Some(most)) = (retention.min_age_seconds, retention.max_age_seconds)
            && least > most
        {
            return Err(invalid(text, "its least age is greater than its greatest"));
        }
        Ok(retention)
    }
}

/// An age in seconds.
fn age_of(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|number: &i64| *number > 0)?;
    let seconds = match unit {
        'h' => HOUR,
        'd' => DAY,
        'w' => 7 * DAY,
        'y' => 365 * DAY,
        _ => return None,
    };
    number.checked_mul(seconds).filter(|age| *age <= MOST_AGE_SECONDS)
}

/// An age as it is written, in the largest unit that fits.
fn age(seconds: i64) -> String {
    let units = [('y', 365 * DAY), ('w', 7 * DAY), ('d', DAY), ('h', HOUR)];
    let fits = units.into_iter().find(|(_, unit)| seconds % unit == 0).unwrap_or(('h', HOUR));
    format!("{}{}", seconds / fits.1, fits.0)
}

/// The same in words.
fn age_in_words(seconds: i64) -> String {
    let text = age(seconds);
    let (number, unit) = text.split_at(text.len() - 1);
    let name = match unit {
        "y" => "year",
        "w" => "week",
        "d" => "day",
        _ => "hour",
    };
    format!("{number} {name}{}", if number == "1" { "" } else { "s" })
}

impl fmt::Display for Retention {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.last > 0 {
            parts.push(format!("last={}", self.last));
        }
        for (period, number) in Period::ALL.into_iter().zip(self.periods).filter(|(_, number)| *number > 0) {
            parts.push(format!("{}={number}", period.name()));
        }
        parts.extend(self.min_age_seconds.map(|seconds| format!("min-age={}", age(seconds))));
        parts.extend(self.max_age_seconds.map(|seconds| format!("max-age={}", age(seconds))));
        formatter.write_str(&parts.join(","))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => formatter.write_str("newest of its machine"),
            Self::Future => formatter.write_str("of a time to come, stands for nothing"),
            Self::Protected => formatter.write_str("protected"),
            Self::Young(least) => write!(formatter, "younger than {}", age_in_words(*least)),
            Self::Last(number, most) => write!(formatter, "last {number} of {most}"),
            Self::Period(name, number, most) => write!(formatter, "{name} {number} of {most}"),
            Self::Old(most) => write!(formatter, "older than {}", age_in_words(*most)),
            Self::Unneeded => formatter.write_str("no rule keeps it"),
        }
    }
}

impl Decision {
    /// All reasons in one line.
    pub fn reasons(&self) -> String {
        self.why.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn before(time: Timestamp, seconds: i64) -> Timestamp {
        time.checked_sub(jiff::SignedDuration::from_secs(seconds)).expect("a time")
    }

    fn facts(time: Timestamp) -> Facts {
        Facts { time, order: 0, is_protected: false, is_incomplete: false, is_late: false }
    }

    fn retention(text: &str) -> Retention {
        text.parse().expect("a retention")
    }

    fn kept(text: &str, points: &[Facts], now: &str) -> Vec<usize> {
        let decisions = retention(text).decide(points, at(now), &TimeZone::UTC);
        (0..points.len()).filter(|number| decisions[*number].keep).collect()
    }

    #[test]
    fn text_is_read_and_written_the_same() {
        for text in [
            "last=5",
            "daily=7",
            "min-age=12h",
            "last=1,hourly=24,daily=7,weekly=4,monthly=12,yearly=10,min-age=2d,max-age=10y",
            "weekly=4,min-age=3w,max-age=30d",
        ] {
            assert_eq!(retention(text).to_string(), text);
        }
        assert_eq!(retention(" daily=7 , last=3").to_string(), "last=3,daily=7");
        for (text, word) in [
            ("", "write it as"),
            ("daily", "write it as"),
            ("fortnightly=2", "write it as"),
            ("daily=0", "from 1"),
            ("daily=-1", "from 1"),
            ("daily=1000001", "from 1"),
            ("daily=7,daily=8", "once"),
            ("max-age=30d", "nothing but the newest"),
            ("last=1,min-age=30", "write an age"),
            ("last=1,min-age=0d", "write an age"),
            ("last=1,max-age=1001y", "write an age"),
            ("last=1,max-age=99999999999999999y", "write an age"),
            ("daily=7,min-age=3d,max-age=2d", "least age"),
        ] {
            let told = text.parse::<Retention>().expect_err(text).to_string();
            assert!(told.contains(word), "{text}: {told}");
        }
    }

    #[test]
    fn the_last_point_stands_for_its_period() {
        let times = ["2026-11-20T02:00:00Z", "2026-11-20T14:00:00Z", "2026-11-21T02:00:00Z", "2026-11-25T02:00:00Z"];
        let points = times.map(|time| facts(at(time)));
        assert_eq!(kept("daily=3", &points, "2026-11-25T03:00:00Z"), [1, 2, 3], "days without a point do not count");
        assert_eq!(kept("weekly=5", &points, "2026-11-25T03:00:00Z"), [2, 3]);
        assert_eq!(kept("last=2", &points, "2026-11-25T03:00:00Z"), [2, 3]);
        assert_eq!(kept("min-age=5d", &points, "2026-11-25T03:00:00Z"), [1, 2, 3]);
        // In another order the same.
        let turned: Vec<Facts> = points.iter().rev().cloned().collect();
        assert_eq!(kept("daily=3", &turned, "2026-11-25T03:00:00Z"), [0, 1, 2]);
    }

    #[test]
    fn what_is_held_incomplete_or_too_old() {
        let now = "2026-11-25T03:00:00Z";
        let mut points: Vec<Facts> = (0..5).map(|day| facts(before(at(now), 3600 + day * DAY))).collect();
        assert_eq!(kept("daily=5,max-age=2d", &points, now), [0, 1]);
        points[4].is_protected = true;
        assert_eq!(kept("daily=1,max-age=2d", &points, now), [0, 4]);
        assert_eq!(kept("daily=1,max-age=1h", &points[3..4], "2027-11-25T03:00:00Z"), [0], "the newest of its machine");
        let twice = |is_incomplete| {
            let later = Facts { is_incomplete, ..facts(at("2026-11-20T14:00:00Z")) };
            [facts(at("2026-11-20T02:00:00Z")), later, facts(at("2026-11-21T02:00:00Z"))]
        };
        assert_eq!(kept("daily=2", &twice(false), now), [1, 2]);
        assert_eq!(kept("daily=2", &twice(true), now), [0, 2]);
        // One that was made days later takes the place of no true one, nor comes it before one that is not whole.
        let mut points = twice(false);
        points[1].is_late = true;
        assert_eq!(kept("daily=2", &points, now), [0, 2]);
        points[0].is_incomplete = true;
        assert_eq!(kept("daily=2", &points, now), [1, 2]);
        assert!(is_late(at("2026-11-20T02:00:00Z"), at("2026-11-20T08:00:01Z")));
        assert!(!is_late(at("2026-11-20T02:00:00Z"), at("2026-11-20T08:00:00Z")));
        assert!(!is_late(at("2026-11-20T02:00:00Z"), at("2026-11-20T01:00:00Z")));
        let reasons: Vec<String> = retention("last=2,daily=7,min-age=2d,max-age=30d")
            .decide(
                &[
                    facts(at("2026-11-24T02:00:00Z")),
                    facts(at("2026-10-20T02:00:00Z")),
                    facts(at("2026-09-01T02:00:00Z")),
                ],
                at(now),
                &TimeZone::UTC,
            )
            .iter()
            .map(Decision::reasons)
            .collect();
        assert_eq!(
            reasons,
            [
                "newest of its machine, younger than 2 days, last 1 of 2, daily 1 of 7",
                "older than 30 days",
                "older than 30 days"
            ]
        );
    }

    #[test]
    fn what_is_of_a_time_to_come_is_kept_and_stands_for_nothing() {
        let now = "2026-11-25T03:00:00Z";
        let mut points: Vec<Facts> = (0..3).map(|day| facts(before(at(now), 3600 + day * DAY))).collect();
        let true_ones = kept("last=1,daily=2", &points, now);
        assert_eq!(true_ones, [0, 1]);
        // As many as somebody likes to make, of this hour, of days, of years to come.
        for ahead in [301, 3000, DAY, 2 * DAY, 40 * DAY, 400 * DAY, 4000 * DAY] {
            points.push(facts(before(at(now), -ahead)));
        }
        let decisions = retention("last=1,daily=2,max-age=10d").decide(&points, at(now), &TimeZone::UTC);
        let kept: Vec<usize> = (0..3).filter(|number| decisions[*number].keep).collect();
        assert_eq!(kept, true_ones, "they push nothing out");
        assert_eq!(decisions[0].why[0], Reason::Newest);
        assert!(decisions[3..].iter().all(|one| one.keep && one.why == [Reason::Future]), "{decisions:?}");
        // A clock that is a little ahead is as good as another.
        points[3].time = before(at(now), -300);
        let decisions = retention("last=1").decide(&points, at(now), &TimeZone::UTC);
        assert_eq!(decisions.iter().map(|one| one.keep).take(4).collect::<Vec<_>>(), [false, false, false, true]);
        // Where nothing else is there, nothing goes.
        assert!(retention("last=1").decide(&points[4..], at(now), &TimeZone::UTC).iter().all(|one| one.keep));
    }

    #[test]
    fn what_keeps_less_in_anything_shortens() {
        let full = "last=5,hourly=24,daily=7,min-age=2d,max-age=10y";
        for (text, shortens) in [
            (full, false),
            ("last=6,hourly=24,daily=7,weekly=1,min-age=3d,max-age=11y", false),
            ("last=5,hourly=24,daily=7,min-age=2d", false),
            ("last=4,hourly=24,daily=70,min-age=2d,max-age=10y", true),
            ("last=5,hourly=23,daily=7,min-age=2d,max-age=10y", true),
            ("last=5,hourly=24,min-age=2d,max-age=10y", true),
            ("last=5,hourly=24,daily=7,min-age=47h,max-age=10y", true),
            ("last=5,hourly=24,daily=7,max-age=10y", true),
            ("last=5,hourly=24,daily=7,min-age=2d,max-age=3649d", true),
        ] {
            assert_eq!(retention(text).shortens(&retention(full)), shortens, "{text}");
        }
        assert!(retention("last=1,max-age=10y").shortens(&retention("last=1")));
    }

    #[test]
    fn periods_are_those_of_the_zone() {
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        // Two hours that the clock shows twice are two.
        let fold = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"].map(|time| facts(at(time)));
        let keeps = |text: &str| {
            retention(text).decide(&fold, at("2026-10-26T00:00:00Z"), &zone).iter().filter(|one| one.keep).count()
        };
        assert_eq!((keeps("hourly=9"), keeps("daily=9")), (3, 1));
        // 23:30 UTC is the next day there, and the next year.
        let turn = ["2026-12-31T22:30:00Z", "2026-12-31T23:30:00Z"].map(|time| facts(at(time)));
        let keeps = |zone: &TimeZone| {
            retention("yearly=9").decide(&turn, at("2027-01-02T00:00:00Z"), zone).iter().filter(|one| one.keep).count()
        };
        assert_eq!((keeps(&zone), keeps(&TimeZone::UTC)), (2, 1));
    }
}
