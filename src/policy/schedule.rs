//! Schedules: at which moments a point of a machine is due.
//!
//! A schedule names times of the clock on the wall of a zone. What it means on the days on which that clock is moved:
//! - a time that the clock leaves out is due at the moment at which the clock jumps over it, the next that there is;
//! - a time that the clock shows twice is due the first time;
//! - two times that fall on one moment are one.
//!
//! Invariants:
//! - the text of a schedule, read again, is the same schedule;
//! - the moments of a machine depend on nothing but the schedule, the zone and the machine's name;
//! - `last_due_at_or_before(t)` is the greatest moment up to `t`, and `next_after(t)` the least after it: each moment is found
//!   from both sides.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, Result};

const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;

/// Most times of a day that a schedule may name.
const MOST_TIMES: usize = 96;

/// Days that are looked at on either side: those of a week, one that a window may reach into, and what a zone may have
/// left out as a whole.
const DAYS: i32 = 10;

const DAYS_OF_WEEK: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// When points are due. As text: `hourly`, `hourly 08:00-20:00`, `every 4h`, `every 4h 22:00-06:00`, `daily 02:00`,
/// `daily 02:00,14:00`, `weekly sun 03:00`, `weekly mon,thu 03:00`, each with ` spread 2h` where machines are not to begin
/// together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    when: When,
    /// Each machine begins later by up to so many minutes.
    spread_minutes: u32,
}

/// Times of a wall clock; minutes since midnight.
#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    /// Every so many hours, within a part of each day where one is given: its first minute and its last, which may be of
    /// the next day.
    Every { hours: u32, window: Option<(u32, u32)> },
    /// At these times of each day.
    Daily(Vec<u32>),
    /// At these times of these days.
    Weekly(Vec<Weekday>, Vec<u32>),
}

impl When {
    /// The times that belong to a day, in order; those of a window over midnight reach into the next.
    fn on(&self, day: Weekday) -> Vec<u32> {
        match self {
            Self::Every { hours, window } => {
                let (first, last) = window.unwrap_or((0, DAY - 1));
                let last = if last < first { last + DAY } else { last };
                (0..).map(|number| first + number * hours * 60).take_while(|minute| *minute <= last).collect()
            }
            Self::Daily(times) => times.clone(),
            Self::Weekly(days, times) if days.contains(&day) => times.clone(),
            Self::Weekly(..) => Vec::new(),
        }
    }

    /// The shortest time between two, in minutes of a week without change of clocks.
    fn shortest_minutes(&self) -> u32 {
        let days = (0..).zip(DAYS_OF_WEEK);
        let mut all: Vec<u32> = days
            .flat_map(|(number, (_, day))| self.on(day).into_iter().map(move |minute| (number * DAY + minute) % WEEK))
            .collect();
        all.sort_unstable();
        let first = all.first().map_or(WEEK, |first| first + WEEK);
        let next = all.iter().skip(1).copied().chain([first]);
        all.iter().zip(next).map(|(minute, next)| next - minute).min().unwrap_or(WEEK)
    }
}

impl Schedule {
    /// The first moment after another at which a point of the machine is due.
    pub fn next_after(&self, machine: &str, zone: &TimeZone, moment: Timestamp) -> Option<Timestamp> {
        let offset = self.offset(machine);
        let moment = moment.checked_sub(offset).ok()?;
        let today = zone.to_datetime(moment).date();
        let days = (-2..=DAYS).filter_map(|days| today.checked_add(jiff::Span::new().days(days)).ok());
        let found = days.flat_map(|date| self.of_day(date, zone)).find(|due| *due > moment)?;
        found.checked_add(offset).ok()
    }

    /// The last moment up to another, that one included, at which a point of the machine was due.
    pub fn last_due_at_or_before(&self, machine: &str, zone: &TimeZone, moment: Timestamp) -> Option<Timestamp> {
        let offset = self.offset(machine);
        let moment = moment.checked_sub(offset).ok()?;
        let today = zone.to_datetime(moment).date();
        let days = (-2..=DAYS).filter_map(|days| today.checked_sub(jiff::Span::new().days(days)).ok());
        let found = days.flat_map(|date| self.of_day(date, zone).into_iter().rev()).find(|due| *due <= moment)?;
        found.checked_add(offset).ok()
    }

    /// By how much a machine begins later than the schedule says: the same for its name always, of whole minutes.
    fn offset(&self, machine: &str) -> SignedDuration {
        let hash = blake3::hash(machine.as_bytes());
        let number = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let minutes = number.checked_rem(self.spread_minutes.into()).unwrap_or(0);
        SignedDuration::from_mins(i64::try_from(minutes).unwrap_or(0))
    }

    /// The moments of a day of the zone, in order.
    fn of_day(&self, date: Date, zone: &TimeZone) -> Vec<Timestamp> {
        let moments = self.when.on(date.weekday()).into_iter().filter_map(|minutes| {
            let time = date.to_datetime(jiff::civil::Time::midnight());
            moment_of(time.checked_add(SignedDuration::from_mins(minutes.into())).ok()?, zone)
        });
        let mut moments: Vec<Timestamp> = moments.collect();
        moments.dedup();
        moments
    }
}

/// The moment at which a wall clock first shows a time, or at which it jumps over it.
fn moment_of(time: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { after, .. } => {
            // By the offset after it, a time that is left out lies before the jump.
            let before = after.to_timestamp(time).ok()?;
            let jump = zone.following(before).next()?;
            Some(jump.timestamp())
        }
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.compatible().ok(),
    }
}

const FORMS: &str = "write it as `hourly`, `hourly 08:00-20:00`, `every 4h`, `daily 02:00,14:00` or `weekly sun 03:00`, and \
                     perhaps `spread 2h` after it";

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |value: &str, rule| Error::Invalid { what: "schedule", value: value.to_owned(), rule };
        let mut words = text.split_whitespace();
        let times = |word: Option<&str>| -> Result<Vec<u32>> {
            let word = word.ok_or_else(|| invalid(text, FORMS))?;
            let times: Option<Vec<u32>> = word.split(',').map(minutes_of).collect();
            let mut times = times.ok_or_else(|| invalid(word, "write times as 02:00, with commas between several"))?;
            times.sort_unstable();
            if times.windows(2).any(|two| two[0] == two[1]) {
                return Err(invalid(word, "each time may be given once"));
            }
            if times.len() > MOST_TIMES {
                return Err(invalid(word, "a day has at most 96 times"));
            }
            Ok(times)
        };
        let mut spread = None;
        let when = match words.next() {
            Some(first @ ("hourly" | "every")) => {
                let hours = match first {
                    "hourly" => Some(1),
                    _ => words.next().and_then(|word| word.strip_suffix('h')?.parse().ok()),
                };
                let hours = hours.filter(|hours| (1..=23).contains(hours));
                let hours = hours.ok_or_else(|| invalid(text, "it must be every 1h to every 23h"))?;
                let window = match words.next() {
                    Some("spread") => {
                        spread = Some(words.next());
                        None
                    }
                    Some(word) => {
                        let ends = word.split_once('-').and_then(|(a, b)| Some((minutes_of(a)?, minutes_of(b)?)));
                        Some(ends.ok_or_else(|| invalid(word, "write the part of the day as 08:00-20:00"))?)
                    }
                    None => None,
                };
                When::Every { hours, window }
            }
            Some("daily") => When::Daily(times(words.next())?),
            Some("weekly") => {
                let word = words.next().ok_or_else(|| invalid(text, FORMS))?;
                let given: Vec<&str> = word.split(',').collect();
                let is_day = |name: &&str| DAYS_OF_WEEK.iter().any(|(day, _)| day == name);
                if !given.iter().all(is_day) {
                    return Err(invalid(word, "name the days mon, tue, wed, thu, fri, sat or sun"));
                }
                let days = DAYS_OF_WEEK.iter().filter(|(name, _)| given.contains(name)).map(|(_, day)| *day);
                let days: Vec<Weekday> = days.collect();
                if days.len() != given.len() {
                    return Err(invalid(word, "each day may be given once"));
                }
                When::Weekly(days, times(words.next())?)
            }
            _ => return Err(invalid(text, FORMS)),
        };
        if spread.is_none() {
            spread = match words.next() {
                None => None,
                Some("spread") => Some(words.next()),
                Some(_) => return Err(invalid(text, FORMS)),
            };
        }
        if words.next().is_some() {
            return Err(invalid(text, FORMS));
        }
        let spread_minutes = match spread {
            None => 0,
            Some(word) => {
                let minutes = word.and_then(spread_of).filter(|minutes| *minutes > 0);
                let minutes = minutes.ok_or_else(|| invalid(text, "write the spread as 30m or 2h"))?;
                if minutes > when.shortest_minutes() {
                    return Err(invalid(text, "it spreads over more than there is between two of its times"));
                }
                minutes
            }
        };
        Ok(Self { when, spread_minutes })
    }
}

/// `08:30` in minutes since midnight.
fn minutes_of(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, most: u32| {
        let is_two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|number| is_two_digits && *number < most)
    };
    Some(number(hours, 24)? * 60 + number(minutes, 60)?)
}

/// `30m` or `2h` in minutes.
fn spread_of(text: &str) -> Option<u32> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok()?;
    match unit {
        "m" => Some(number),
        "h" => number.checked_mul(60),
        _ => None,
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |minutes: &u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let list = |times: &[u32]| times.iter().map(time).collect::<Vec<_>>().join(",");
        match &self.when {
            When::Every { hours, window } => {
                match hours {
                    1 => formatter.write_str("hourly")?,
                    hours => write!(formatter, "every {hours}h")?,
                }
                if let Some((first, last)) = window {
                    write!(formatter, " {}-{}", time(first), time(last))?;
                }
            }
            When::Daily(times) => write!(formatter, "daily {}", list(times))?,
            When::Weekly(days, times) => {
                let named = DAYS_OF_WEEK.iter().filter(|(_, day)| days.contains(day)).map(|(name, _)| *name);
                write!(formatter, "weekly {} {}", named.collect::<Vec<_>>().join(","), list(times))?;
            }
        }
        match self.spread_minutes {
            0 => Ok(()),
            minutes if minutes % 60 == 0 => write!(formatter, " spread {}h", minutes / 60),
            minutes => write!(formatter, " spread {minutes}m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        text.parse().expect("a schedule")
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("a zone")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    /// The moments from one time to another.
    fn moments(text: &str, zone_name: &str, from: &str, to: &str) -> Vec<String> {
        let (schedule, zone) = (schedule(text), zone(zone_name));
        let next = |moment: &Timestamp| schedule.next_after("m", &zone, *moment);
        let all = std::iter::successors(next(&at(from)), next);
        all.take_while(|moment| *moment <= at(to)).map(|moment| moment.to_string()).collect()
    }

    const TEXTS: [&str; 14] = [
        "hourly",
        "hourly 08:00-20:00",
        "hourly 00:30-23:30",
        "hourly 22:00-06:00",
        "every 4h",
        "every 5h",
        "every 23h 02:30-02:15",
        "every 3h 08:15-19:00 spread 45m",
        "daily 02:00",
        "daily 02:30,14:00 spread 2h",
        "daily 00:00,23:59 spread 1m",
        "weekly sun 03:00",
        "weekly sun 02:30 spread 24h",
        "weekly mon,thu,sun 02:15,03:00",
    ];

    #[test]
    fn text_is_read_and_written_the_same() {
        for text in TEXTS {
            assert_eq!(schedule(text).to_string(), text);
        }
        assert_eq!(schedule(" daily  14:00,02:00 spread 120m").to_string(), "daily 02:00,14:00 spread 2h");
        assert_eq!(schedule("every 1h").to_string(), "hourly");
        assert_eq!(schedule("weekly sun,mon 03:00").to_string(), "weekly mon,sun 03:00");
        for (text, word) in [
            ("", "write it as"),
            ("monthly", "write it as"),
            ("daily", "write it as"),
            ("daily 2:00", "write times as"),
            ("daily 24:00", "write times as"),
            ("daily 12:60", "write times as"),
            ("daily +1:00", "write times as"),
            ("daily 02:00,02:00", "once"),
            ("daily 02:00 03:00", "write it as"),
            ("daily 02:00 spread", "the spread as"),
            ("daily 02:00 spread 0h", "the spread as"),
            ("daily 02:00 spread 2d", "the spread as"),
            ("daily 02:00 spread 25h", "more than there is"),
            ("daily 02:00 spread 99999999h", "the spread as"),
            ("daily 02:00,03:00 spread 2h", "more than there is"),
            ("hourly spread 2h", "more than there is"),
            ("hourly 08:00", "part of the day"),
            ("every 0h", "every 1h to"),
            ("every 24h", "every 1h to"),
            ("every", "every 1h to"),
            ("weekly sun", "write it as"),
            ("weekly someday 03:00", "name the days"),
            ("weekly sun,sun 03:00", "once"),
            ("daily 02:00 spread 1h and more", "write it as"),
            ("daily é", "write times as"),
            ("daily 02:00 spread é", "the spread as"),
        ] {
            let told = text.parse::<Schedule>().expect_err(text).to_string();
            assert!(told.contains(word), "{text}: {told}");
        }
    }

    #[test]
    fn a_time_that_is_left_out_comes_at_the_jump_and_one_that_is_shown_twice_comes_once() {
        // Clocks in Berlin jump from 02:00 to 03:00 at 01:00 UTC on 29 March 2026, and go back at 01:00 UTC on 25 October.
        let berlin = |text: &str, from: &str, to: &str| moments(text, "Europe/Berlin", from, to);
        assert_eq!(
            berlin("daily 02:30", "2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z"),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            berlin("daily 02:30", "2026-10-24T00:00:00Z", "2026-10-26T12:00:00Z"),
            ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        // What is left out and what comes at the jump are one.
        assert_eq!(
            berlin("hourly 01:00-04:00", "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z"),
            ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]
        );
        assert_eq!(berlin("daily 02:00,02:30,03:00", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z").len(), 1);
        // Samoa left out a whole day.
        let samoa = moments("daily 12:00", "Pacific/Apia", "2011-12-29T00:00:00Z", "2012-01-01T00:00:00Z");
        assert_eq!(
            samoa,
            ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z", "2011-12-31T22:00:00Z"]
        );
    }

    #[test]
    fn windows_reach_over_midnight_and_weeks_know_their_days() {
        assert_eq!(
            moments("every 4h 22:00-06:00", "UTC", "2026-11-20T00:00:00Z", "2026-11-21T03:00:00Z"),
            ["2026-11-20T02:00:00Z", "2026-11-20T06:00:00Z", "2026-11-20T22:00:00Z", "2026-11-21T02:00:00Z"]
        );
        assert_eq!(
            moments("weekly sun 03:00", "UTC", "2026-11-20T00:00:00Z", "2026-12-01T00:00:00Z"),
            ["2026-11-22T03:00:00Z", "2026-11-29T03:00:00Z"]
        );
        assert_eq!(moments("hourly 08:00-20:00", "UTC", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z").len(), 13);
    }

    #[test]
    fn machines_are_spread_and_each_keeps_its_place() {
        let spread = schedule("daily 02:00 spread 2h");
        let due = |machine: &str, day: &str| {
            spread.next_after(machine, &TimeZone::UTC, at(day)).expect("a moment").duration_since(at(day)).as_mins()
        };
        let names: Vec<String> = (0..200).map(|number| format!("web{number}")).collect();
        let first: Vec<i64> = names.iter().map(|name| due(name, "2026-11-20T00:00:00Z")).collect();
        assert!(first.iter().all(|minutes| (120..240).contains(minutes)));
        assert!(first.iter().collect::<std::collections::BTreeSet<_>>().len() > 80);
        let second: Vec<i64> = names.iter().map(|name| due(name, "2027-03-01T00:00:00Z")).collect();
        assert_eq!(first, second);
    }

    #[test]
    fn every_moment_is_found_from_both_sides_in_all_zones_and_years() {
        let zones = [
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "America/Sao_Paulo",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
            "Africa/Casablanca",
            "Pacific/Apia",
            "Pacific/Chatham",
        ];
        for (text, name) in TEXTS.iter().flat_map(|text| zones.map(|zone| (text, zone))) {
            let (schedule, zone) = (schedule(text), zone(name));
            let seconds = |number| SignedDuration::from_secs(number);
            // Around each change of clocks of some years, and over a stretch of days.
            let from = at("2011-06-01T00:00:00Z");
            let jumps = zone.following(from).map(|jump| jump.timestamp()).take(5);
            for begin in jumps.chain([from, at("2026-12-25T00:00:00Z")]) {
                let (mut moment, end) = (begin - seconds(5 * 86_400), begin + seconds(5 * 86_400));
                let mut before = schedule.last_due_at_or_before("web01", &zone, moment).expect("one before");
                assert!(before <= moment, "{text} {name}");
                while moment < end {
                    let next = schedule.next_after("web01", &zone, moment).expect("one after");
                    assert!(next > moment && next > before, "{text} {name} {moment}");
                    let last = |at| schedule.last_due_at_or_before("web01", &zone, at).expect("one before");
                    assert_eq!(last(next), next, "{text} {name}");
                    assert_eq!(last(next - seconds(1)), before, "{text} {name} {next}");
                    assert_eq!(schedule.next_after("web01", &zone, next - seconds(1)), Some(next), "{text} {name}");
                    (before, moment) = (next, next);
                }
            }
        }
        // At the ends of time there is an answer, or none.
        for moment in [Timestamp::MIN, Timestamp::MAX] {
            let all = schedule("daily 02:00 spread 2h");
            let _ =
                (all.next_after("m", &TimeZone::UTC, moment), all.last_due_at_or_before("m", &TimeZone::UTC, moment));
        }
    }

    #[test]
    fn each_day_of_a_year_has_its_times_whatever_its_clocks_do() {
        for (text, a_day) in [("daily 02:30", 1), ("daily 02:30,14:00", 2), ("every 6h", 4)] {
            for name in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"] {
                let (schedule, zone) = (schedule(text), zone(name));
                for year in [2024, 2025, 2026] {
                    let begin = jiff::civil::date(year, 1, 1).to_zoned(zone.clone()).expect("a time").timestamp();
                    let end = jiff::civil::date(year + 1, 1, 1).to_zoned(zone.clone()).expect("a time").timestamp();
                    let days = if year == 2024 { 366 } else { 365 };
                    let next = |moment: &Timestamp| schedule.next_after("m", &zone, *moment);
                    let all = std::iter::successors(next(&(begin - SignedDuration::from_secs(1))), next);
                    assert_eq!(all.take_while(|moment| *moment < end).count(), days * a_day, "{text} {name} {year}");
                }
            }
        }
    }
}
