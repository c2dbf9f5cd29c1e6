//! How fast a vault grows, and when what it may take is reached.
//!
//! By what points of the last four weeks say that they added, day by day: the slope is the median of the slopes between any two
//! days (Theil and Sen), which a day out of the ordinary does not move. A machine's first point is no growth and left
//! out. What forgetting gives back is not foreseen, and what points added that are purged by now is not known: so it is a
//! forecast for a vault in which nothing is forgotten, from the points that are there.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

const DAY_SECONDS: i64 = 86_400;
/// Days that are looked at, before the newest point.
const WINDOW_DAYS: i64 = 28;
/// Fewest days with points for any forecast.
const FEWEST_DAYS: usize = 4;
/// Fewest days from the first to the last for one that is not rough.
const FINE_DAYS: u64 = 14;

/// How fast something grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Growth {
    /// Bytes a day; none where there are points of too few days to tell.
    pub bytes_per_day: Option<u64>,
    /// Days from the first to the last day with points that it is told from; at most 28.
    pub days: u64,
    /// Points that it is told from.
    pub points: u64,
    /// Whether those are fewer than two weeks: a weekly rhythm does not show.
    pub is_rough: bool,
}

/// What is reached when things go on as they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The warning of a quota.
    QuotaWarning,
    /// A hard quota.
    QuotaHard,
    /// The end of the free space of the file system under the vault, which others may take too.
    FreeSpace,
}

/// When something is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// What.
    pub limit: Limit,
    /// Whose; none for the vault as a whole.
    pub machine: Option<String>,
    /// Bytes until there; zero where it is reached already.
    pub left_bytes: u64,
    /// Days until there; none where nothing is known to grow.
    pub days: Option<u64>,
    /// The moment; none too where it is more than a hundred years away.
    pub at: Option<Timestamp>,
}

impl Forecast {
    /// When what is left is taken.
    pub(super) fn of(
        limit: Limit,
        machine: Option<&str>,
        left_bytes: u64,
        growth: Option<u64>,
        now: Timestamp,
    ) -> Self {
        let days = if left_bytes == 0 { Some(0) } else { growth.and_then(|bytes| left_bytes.checked_div(bytes)) };
        let at = days.filter(|days| *days <= 36_525).and_then(|days| {
            let hours = i64::try_from(days).ok()?.checked_mul(24)?;
            now.checked_add(SignedDuration::from_hours(hours)).ok()
        });
        Self { limit, machine: machine.map(str::to_owned), left_bytes, days, at }
    }
}

/// What a machine's points say of themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// When each was made, Unix seconds, and bytes that it added.
    points: Vec<(i64, u64)>,
}

impl History {
    pub(super) fn add(&mut self, made_unix_seconds: i64, added_bytes: u64) {
        self.points.push((made_unix_seconds, added_bytes));
    }

    /// The same without the first point, which is no growth.
    fn later(&self) -> impl Iterator<Item = (i64, u64)> + use<'_> {
        let first = (0..self.points.len()).min_by_key(|number| self.points[*number].0);
        self.points.iter().enumerate().filter(move |(number, _)| Some(*number) != first).map(|(_, point)| *point)
    }
}

/// How fast machines grow together.
pub(super) fn growth<'a>(histories: impl Iterator<Item = &'a History> + Clone) -> Growth {
    let day = |seconds: i64| seconds.div_euclid(DAY_SECONDS);
    let Some(newest) = histories.clone().flat_map(|history| &history.points).map(|point| day(point.0)).max() else {
        return Growth::default();
    };
    let is_in = |seconds: i64| day(seconds) > newest.saturating_sub(WINDOW_DAYS);
    // The days with points, first ones among them, which tell of their day that nothing else was added.
    let mut days: BTreeMap<i64, u64> = BTreeMap::new();
    let all = histories.clone().flat_map(|history| &history.points).filter(|point| is_in(point.0));
    let points = all.clone().count() as u64;
    days.extend(all.map(|point| (day(point.0), 0)));
    for (made, added) in histories.flat_map(History::later).filter(|point| is_in(point.0)) {
        let sum = days.entry(day(made)).or_default();
        *sum = sum.saturating_add(added);
    }
    let mut sum = 0_u64;
    let sums: Vec<(i64, u64)> = days
        .into_iter()
        .map(|(day, added)| {
            sum = sum.saturating_add(added);
            (day, sum)
        })
        .collect();
    let (first, last) = (sums.first().map_or(0, |first| first.0), sums.last().map_or(0, |last| last.0));
    let days = u64::try_from(last - first).unwrap_or(0);
    let mut slopes: Vec<u64> = Vec::new();
    for (number, one) in sums.iter().enumerate() {
        // The sums only grow, and so do the days.
        slopes.extend(sums.iter().skip(number + 1).map(|two| (two.1 - one.1) / (two.0 - one.0).unsigned_abs()));
    }
    slopes.sort_unstable();
    let bytes_per_day = slopes.get(slopes.len() / 2).copied().filter(|_| sums.len() >= FEWEST_DAYS);
    Growth { bytes_per_day, days, points, is_rough: days < FINE_DAYS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(days: impl Iterator<Item = (i64, u64)>) -> History {
        History { points: days.map(|(day, added)| (day * DAY_SECONDS + 7200, added)).collect() }
    }

    #[test]
    fn a_first_point_and_a_day_out_of_the_ordinary_are_no_growth() {
        let steady = history((0..40).map(|day| (day, if day == 0 || day == 30 { 1_000_000 } else { 100 })));
        let told = growth([&steady].into_iter());
        assert!(told.bytes_per_day.is_some_and(|bytes| (90..=110).contains(&bytes)), "{told:?}");
        assert_eq!((told.days, told.points, told.is_rough), (27, 28, false));
        // A machine that comes in the midst of it.
        let new = history((25..40).map(|day| (day, if day == 25 { 9_000_000 } else { 0 })));
        assert_eq!(growth([&steady, &new].into_iter()).bytes_per_day, told.bytes_per_day);
        // Weeks: most on Sundays.
        let weekly = history((0..40).map(|day| (day, if day % 7 == 0 { 700 } else { 0 })));
        let told = growth([&weekly].into_iter());
        assert!(told.bytes_per_day.is_some_and(|bytes| (80..=120).contains(&bytes)), "{told:?}");
    }

    #[test]
    fn of_few_days_little_is_told() {
        assert_eq!(growth([].into_iter()), Growth::default());
        let three = history((0..3).map(|day| (day, 100)));
        assert_eq!(growth([&three].into_iter()).bytes_per_day, None);
        let many_on_one = history((0..50).map(|_| (5, 100)));
        assert_eq!(growth([&many_on_one].into_iter()).bytes_per_day, None);
        let four = history((0..4).map(|day| (day, 100)));
        let told = growth([&four].into_iter());
        assert_eq!((told.bytes_per_day, told.is_rough), (Some(100), true));
        let absurd = history([(i64::MIN / DAY_SECONDS, 1), (0, u64::MAX), (1, u64::MAX)].into_iter());
        assert_eq!(growth([&absurd].into_iter()).points, 2);
    }

    #[test]
    fn what_is_reached_already_and_what_never_is() {
        let of = |left, growth| {
            let told = Forecast::of(Limit::QuotaHard, None, left, growth, Timestamp::UNIX_EPOCH);
            (told.days, told.at.map(Timestamp::as_second))
        };
        assert_eq!(of(0, None), (Some(0), Some(0)));
        assert_eq!(of(1000, Some(100)), (Some(10), Some(864_000)));
        assert_eq!((of(1000, Some(0)), of(1000, None)), ((None, None), (None, None)));
        assert_eq!(of(u64::MAX, Some(1)), (Some(u64::MAX), None));
    }
}
