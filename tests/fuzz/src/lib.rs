//! What every decoder of icecore must bear, whatever bytes it gets.
//!
//! A target is a function from bytes to whether a decoder took them. It panics where a promise is broken: a decoder that
//! panics, what is decoded and encoded again and is not the same, a look-up that leads where no entry led. libFuzzer
//! drives the targets (`scripts/fuzz.sh`), and so does a test, with each seed and some thousand mutations of it.
//!
//! Where bytes carry checksums, authenticators or seals, a target puts those right after the mutation, under keys that it
//! knows: a mutation that only breaks a checksum says nothing about what lies behind. The code that does so follows
//! FORMAT.md and shares no line with the engine's, so that it also tells where the two differ.

pub mod budget;
pub mod mutate;
pub mod seeds;

mod disk;
mod keys;
mod memory;
mod targets;

pub use targets::{TARGETS, Target, target};
