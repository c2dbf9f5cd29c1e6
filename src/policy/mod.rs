//! Which points are kept, for how long, and why. Knows no vault, no files and no clock: who asks says what there is and what
//! time it is.

#![forbid(unsafe_code)]

mod retention;

pub use retention::{Decision, Facts, Reason, Retention};
