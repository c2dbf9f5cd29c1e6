//! Vaults: points, keys, roles, many at once.

#[path = "../common/mod.rs"]
mod common;

mod backup_role;
mod concurrency;
mod copy;
mod forget;
mod gc;
mod gc_safety;
mod index;
mod insiders;
mod keys;
mod points;
mod policies;
mod quiesce;
mod quota;
mod retention;
mod roles;
mod rotation;
mod stats;
mod verify_parts;
