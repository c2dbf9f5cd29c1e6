//! The rows of the table, each from all turns of every peer.

use super::turn::{MountFigures, Turn};
use crate::child::Usage;
use crate::table::{Better, Row, median};

/// What a turn tells for a row.
type Figure = fn(&Turn) -> Option<f64>;

/// Every row: its title, which way is better, digits behind the point, and where the figure comes from.
const ROWS: &[(&str, Better, usize, Figure)] = &[
    ("day 1: backup, s", Better::Less, 1, |turn| backup(turn, 0, seconds)),
    ("processor, s", Better::Less, 1, |turn| backup(turn, 0, processor)),
    ("peak memory, MB", Better::Less, 0, |turn| backup(turn, 0, peak)),
    ("stored, MB", Better::Less, 0, |turn| stored(turn, 0)),
    ("day 2: backup, s", Better::Less, 1, |turn| backup(turn, 1, seconds)),
    ("processor, s", Better::Less, 1, |turn| backup(turn, 1, processor)),
    ("peak memory, MB", Better::Less, 0, |turn| backup(turn, 1, peak)),
    ("added, MB", Better::Less, 1, |turn| stored(turn, 1)),
    ("restore to a file, s", Better::Less, 1, |turn| Some(turn.restore.seconds)),
    ("and until it is on the disk, s", Better::Less, 1, |turn| Some(turn.restore_synced_seconds)),
    ("processor, s", Better::Less, 1, |turn| processor(&turn.restore)),
    ("peak memory, MB", Better::Less, 0, |turn| peak(&turn.restore)),
    ("mount: first look at the image, s", Better::Less, 2, |turn| mount(turn, |mount| mount.ready_seconds)),
    ("whole image, MB/s", Better::More, 0, |turn| mount(turn, |mount| mount.sequential / 1e6)),
    ("random 4 KiB, 1 reader, /s", Better::More, 0, |turn| mount(turn, |mount| mount.one_reader)),
    ("random 4 KiB, 4 readers, /s", Better::More, 0, |turn| mount(turn, |mount| mount.four_readers)),
    ("peak memory, MB", Better::Less, 0, |turn| mount(turn, |mount| mount.peak_bytes as f64 / 1e6)),
];

/// The rows, with the median of each peer's turns.
pub fn rows(peers: &[&[Turn]]) -> Vec<Row> {
    let row = |(title, better, digits, figure): &(&str, Better, usize, Figure)| Row {
        title: (*title).to_owned(),
        better: *better,
        digits: *digits,
        figures: peers.iter().map(|turns| median(turns.iter().filter_map(figure).collect())).collect(),
    };
    ROWS.iter().map(row).collect()
}

fn backup(turn: &Turn, day: usize, figure: fn(&Usage) -> Option<f64>) -> Option<f64> {
    figure(&turn.backups.get(day)?.0)
}

fn stored(turn: &Turn, day: usize) -> Option<f64> {
    Some(turn.backups.get(day)?.1 as f64 / 1e6)
}

fn mount(turn: &Turn, figure: fn(&MountFigures) -> f64) -> Option<f64> {
    turn.mount.as_ref().ok().map(figure)
}

fn seconds(usage: &Usage) -> Option<f64> {
    Some(usage.seconds)
}

fn processor(usage: &Usage) -> Option<f64> {
    Some(usage.processor_seconds)
}

fn peak(usage: &Usage) -> Option<f64> {
    Some(usage.peak_bytes as f64 / 1e6)
}
