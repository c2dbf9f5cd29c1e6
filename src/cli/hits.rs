//! What is damaged, and the ranges that it hits, as programs read them.

use icecore::error::Error;
use icecore::vault::DamagedRange;
use serde_json::{Value, json};

/// Ranges of disks.
pub fn json(hits: &[DamagedRange]) -> Vec<Value> {
    let one = |hit: &DamagedRange| {
        json!({
            "machine": hit.machine, "point": hit.point, "disk": hit.disk,
            "start": hit.range.start, "end": hit.range.end,
        })
    };
    hits.iter().map(one).collect()
}

/// Damage, each as its sentence.
pub fn told(errors: &[Error]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}
