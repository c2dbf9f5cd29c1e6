//! Promise 3: what damage took comes back, or can still be read.

#[path = "../common/mod.rs"]
mod common;

mod at_once;
mod hostile;
mod objects;
mod parity;
mod records;
mod rotated;
mod salvage_header;
mod salvage_points;
mod salvage_ranges;
mod segment;
mod sources;
