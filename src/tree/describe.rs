//! What the tree says in words: `point.json`, and the notes beside volumes that are not shown as they should be.

use std::sync::{Arc, PoisonError};

use serde::Serialize;

use super::point::{Content, Opener, PointNode, Shown};
use crate::error::{Error, Result};
use crate::guest::partition::{TableKind, Volume};
use crate::guest::{GuestFileSystem, VolumeState};
use crate::point::Manifest;

/// A small text beside a volume.
#[derive(Clone)]
pub(super) struct Note {
    /// The volume's name.
    pub volume: String,
    /// End of the note's file name.
    pub suffix: &'static str,
    pub text: String,
}

/// What must be said of a volume in the directory listing itself, if anything.
pub(super) fn note(volume: &Volume, shown: Option<&Shown>) -> Option<Note> {
    let (suffix, text) = match shown.map(|shown| &shown.content) {
        None => ("ERROR", volume.problem.as_ref()?.to_string()),
        Some(Content::Failed(why)) => ("ERROR", why.clone()),
        Some(Content::Other(_)) => return None,
        Some(Content::Files(file_system)) => match &file_system.info().state {
            VolumeState::Stale { reason } => {
                ("STALE", format!("shown as of its last checkpoint, newer changes are missing: {reason}"))
            }
            _ => return None,
        },
    };
    Some(Note { volume: volume.name(), suffix, text })
}

/// What must be said of a volume whose beginning the vault can't give any more.
pub(super) fn damaged(volume: &Volume, error: &Error) -> Note {
    Note { volume: volume.name(), suffix: "ERROR", text: error.to_string() }
}

#[derive(Serialize)]
struct PointJson<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    volumes: Vec<DiskVolumes>,
}

#[derive(Serialize)]
struct DiskVolumes {
    disk: String,
    table: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    volumes: Vec<VolumeJson>,
}

#[derive(Serialize)]
struct VolumeJson {
    name: String,
    start: u64,
    size_bytes: u64,
    partition_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_uuid: Option<String>,
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
enum State {
    Clean,
    NotUnmounted,
    Replayed { transactions: u64, blocks: u64 },
    Stale { reason: String },
}

/// The text of `point.json`; made once.
pub(super) fn point_json(opener: &Opener, point: &PointNode) -> Result<Arc<Vec<u8>>> {
    if let Some(text) = point.json.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        return Ok(Arc::clone(text));
    }
    let manifest = point.manifest(opener)?;
    let mut volumes = Vec::new();
    let mut keep = true;
    for (number, disk) in manifest.disks.iter().enumerate() {
        volumes.push(match disk_volumes(opener, point, number, &disk.name) {
            Ok(described) => described,
            // A damaged disk must not hide what is known of the point; nor is this text kept then.
            Err(error) => {
                keep = false;
                let problems = vec![error.to_string()];
                DiskVolumes { disk: disk.name.clone(), table: "unreadable", problems, volumes: Vec::new() }
            }
        });
    }
    let mut text = serde_json::to_vec_pretty(&PointJson { manifest: &manifest, volumes }).unwrap_or_default();
    text.push(b'\n');
    let text = Arc::new(text);
    if keep {
        *point.json.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&text));
    }
    Ok(text)
}

fn disk_volumes(opener: &Opener, point: &PointNode, disk: usize, name: &str) -> Result<DiskVolumes> {
    let table = point.volumes(opener, disk)?;
    let mut volumes = Vec::new();
    for (number, volume) in table.volumes.iter().enumerate() {
        let shown = if volume.problem.is_none() { Some(point.shown(opener, disk, number)?) } else { None };
        volumes.push(describe(volume, shown.as_deref()));
    }
    Ok(DiskVolumes {
        disk: name.to_owned(),
        table: match table.kind {
            TableKind::None => "none",
            TableKind::Mbr => "mbr",
            TableKind::Gpt => "gpt",
            TableKind::Hybrid => "hybrid",
        },
        problems: table.problems.iter().map(ToString::to_string).collect(),
        volumes,
    })
}

fn describe(volume: &Volume, shown: Option<&Shown>) -> VolumeJson {
    let mut json = VolumeJson {
        name: volume.name(),
        start: volume.start,
        size_bytes: volume.size_bytes,
        partition_type: volume.kind.name(),
        partition_label: volume.label.clone(),
        partition_uuid: volume.uuid.as_ref().map(ToString::to_string),
        content: "unknown".to_owned(),
        label: None,
        uuid: None,
        used_bytes: None,
        state: None,
        problem: volume.problem.as_ref().map(ToString::to_string),
    };
    match shown.map(|shown| &shown.content) {
        Some(Content::Files(file_system)) => {
            let info = file_system.info();
            json.content = info.file_system.to_owned();
            json.label.clone_from(&info.label);
            json.uuid = info.uuid.as_ref().map(ToString::to_string);
            json.used_bytes = Some(info.used_bytes);
            json.state = Some(match info.state {
                VolumeState::Clean => State::Clean,
                VolumeState::NotUnmounted => State::NotUnmounted,
                VolumeState::Replayed { transactions, blocks } => State::Replayed { transactions, blocks },
                VolumeState::Stale { reason } => State::Stale { reason: reason.to_string() },
            });
        }
        Some(Content::Other(content)) => json.content = content.name().to_owned(),
        Some(Content::Failed(why)) => json.problem = Some(why.clone()),
        None => {}
    }
    json
}
