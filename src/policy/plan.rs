//! What a policy will do: the points that it will make, keep and drop, day by day from now.
//!
//! Invariants:
//! - what becomes of a point is decided by [`Retention::decide`], as it will be when its time has come;
//! - points are made when the schedule says so, and dropped at the end of each day, as who forgets every night does;
//! - nothing is known of points that somebody makes by hand.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::{Decision, Facts, Policy};
use crate::error::Result;

/// Most days that are planned: ten years.
const MOST_DAYS: usize = 3660;

/// Most points that a machine may have meanwhile.
const MOST_POINTS: usize = 100_000;

/// A point, real or to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its name where it is real.
    pub name: Option<String>,
    /// What is known of it.
    pub facts: Facts,
    /// Until when somebody holds it.
    pub protected_until: Option<Timestamp>,
}

/// What becomes of a point at the end of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Going {
    /// The point.
    pub point: Planned,
    /// What, and why.
    pub decision: Decision,
}

/// One day of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// When it ends, or the plan does.
    pub end: Timestamp,
    /// The points that are made.
    pub made: Vec<Planned>,
    /// Those that are kept at its end, and those that are dropped, oldest first.
    pub points: Vec<Going>,
}

/// Plans from one moment to another; `points` are those that are there, oldest first. Days are those of the policy's zone.
pub fn plan(
    policy: &Policy,
    machine: &str,
    points: Vec<Planned>,
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<Day>> {
    let zone = policy.zone()?;
    let (mut points, mut days, mut begin) = (points, Vec::new(), now);
    let mut order = points.iter().map(|point| point.facts.order).max().unwrap_or(0);
    while begin < until && days.len() < MOST_DAYS && points.len() < MOST_POINTS {
        let end = end_of_day(begin, &zone).min(until);
        let next = |moment: Timestamp| policy.schedule.as_ref()?.next_after(machine, &zone, moment);
        // What is due at midnight is of the day that begins.
        let first = begin.checked_sub(1.nanosecond()).ok().and_then(next);
        let due = std::iter::successors(first, |moment| next(*moment)).take_while(|moment| *moment < end);
        let made: Vec<Planned> = due
            .map(|time| {
                order = order.saturating_add(1);
                let facts = Facts { time, order, is_protected: false, is_incomplete: false, is_late: false };
                Planned { name: None, facts, protected_until: None }
            })
            .collect();
        points.extend(made.iter().cloned());
        for point in &mut points {
            point.facts.is_protected = point.protected_until.is_some_and(|until| until > end);
        }
        let facts: Vec<Facts> = points.iter().map(|point| point.facts.clone()).collect();
        let decisions = policy.retention.decide(&facts, end, &zone);
        let decided: Vec<Going> =
            points.into_iter().zip(decisions).map(|(point, decision)| Going { point, decision }).collect();
        points = decided.iter().filter(|one| one.decision.keep).map(|one| one.point.clone()).collect();
        days.push(Day { end, made, points: decided });
        begin = end;
    }
    Ok(days)
}

/// The last moment of the day.
fn end_of_day(moment: Timestamp, zone: &TimeZone) -> Timestamp {
    let start = moment.to_zoned(zone.clone()).start_of_day();
    let end = start.and_then(|start| start.checked_add(1.day()));
    end.map_or(Timestamp::MAX, |end| end.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_plan_makes_keeps_and_drops_as_the_days_will() {
        let policy = Policy {
            schedule: Some("daily 02:00,14:00".parse().expect("a schedule")),
            ..Policy::new("daily=3".parse().expect("a retention"))
        };
        let facts = Facts {
            time: at("2026-11-19T14:00:00Z"),
            order: 5,
            is_protected: false,
            is_incomplete: false,
            is_late: false,
        };
        let real = Planned { name: Some("real".to_owned()), facts, protected_until: None };
        let held = Planned {
            facts: Facts {
                time: at("2026-11-01T14:00:00Z"),
                order: 4,
                is_protected: true,
                is_incomplete: false,
                is_late: false,
            },
            protected_until: Some(at("2026-11-24T12:00:00Z")),
            ..real.clone()
        };
        let days = plan(&policy, "m", vec![held, real], at("2026-11-20T09:00:00Z"), at("2026-11-25T09:00:00Z"))
            .expect("a plan");
        let told: Vec<(usize, usize, usize)> = days
            .iter()
            .map(|day| {
                let kept = day.points.iter().filter(|one| one.decision.keep).count();
                (day.made.len(), kept, day.points.len() - kept)
            })
            .collect();
        // Of each day one point stays, three of them; what is held stays so long.
        assert_eq!(told, [(1, 3, 0), (2, 4, 1), (2, 4, 2), (2, 4, 2), (2, 3, 3), (1, 3, 1)]);
        assert_eq!(days[0].end, at("2026-11-21T00:00:00Z"));
        assert_eq!(days[5].end, at("2026-11-25T09:00:00Z"));
        // Each decision is the one that would be made then.
        for day in &days {
            let facts: Vec<Facts> = day.points.iter().map(|one| one.point.facts.clone()).collect();
            let then = policy.retention.decide(&facts, day.end, &TimeZone::UTC);
            assert_eq!(then, day.points.iter().map(|one| one.decision.clone()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_policy_without_a_schedule_makes_nothing() {
        let policy = Policy::new("last=1".parse().expect("a retention"));
        let days = plan(&policy, "m", Vec::new(), at("2026-11-20T09:00:00Z"), at("2026-11-22T09:00:00Z"));
        assert!(days.expect("a plan").iter().all(|day| day.made.is_empty() && day.points.is_empty()));
        let ever = plan(&policy, "m", Vec::new(), at("2026-11-20T09:00:00Z"), Timestamp::MAX).expect("a plan");
        assert_eq!(ever.len(), MOST_DAYS);
    }
}
