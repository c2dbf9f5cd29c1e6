//! Policies: when points are due, which are kept, for how long, and why; and what is backed up of which machine. Knows no
//! vault, no files and no clock: who asks says what there is and what time it is.

#![forbid(unsafe_code)]

mod document;
mod plan;
mod retention;
mod schedule;

pub use document::{Document, Hooks, LockEnd, Machine, Policy};
pub(crate) use document::{Promise, policy_of};
pub use plan::{Day, Going, Planned, plan};
pub(crate) use retention::not_after;
pub use retention::{Decision, Facts, Reason, Retention, is_future, is_late};
pub use schedule::Schedule;
