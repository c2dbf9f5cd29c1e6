//! What the tree says in words: `point.json`, and the notes beside volumes that are not shown as they should be.

use std::sync::{Arc, PoisonError};

use serde::Serialize;

use super::block::unwrapped;
use super::facts::Opened;
use super::logical::Logical;
use super::point::{Content, Opener, PointNode, PointVolume, Shown};
use crate::error::{Error, Result};
use crate::guest::facts::Facts;
use crate::guest::partition::{PartitionTable, TableKind, TableProblem};
use crate::guest::{self, BlockRead, GuestFileSystem, VolumeState, identify};
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
pub(super) fn note(volume: &PointVolume, shown: Option<&Shown>) -> Option<Note> {
    let caution = shown.and_then(|shown| shown.caution.as_deref());
    let (suffix, text) = match shown.map(|shown| &shown.content) {
        None => ("ERROR", volume.problem()?),
        Some(Content::Failed(why)) => {
            ("ERROR", [why.as_str()].into_iter().chain(caution).collect::<Vec<_>>().join("; "))
        }
        Some(Content::Other(_) | Content::Files(_)) => ("STALE", shown.and_then(stale)?),
    };
    Some(Note { volume: volume.name(), suffix, text })
}

/// What must be said of a volume that is not shown as the guest would see it.
pub(super) fn stale(shown: &Shown) -> Option<String> {
    let checkpoint = match &shown.content {
        Content::Files(file_system) => match file_system.info().state {
            VolumeState::Stale { reason } => {
                Some(format!("shown as of its last checkpoint, newer changes are missing: {reason}"))
            }
            _ => None,
        },
        _ => None,
    };
    let parts: Vec<&str> = checkpoint.as_deref().into_iter().chain(shown.caution.as_deref()).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What must be said of a disk whose table hides some of its volumes.
pub(super) fn table_note(table: &PartitionTable) -> Option<Note> {
    let problems: Vec<String> =
        table.problems.iter().filter(|problem| problem.hides_volumes()).map(ToString::to_string).collect();
    let text = format!("volumes may be missing here: {}", problems.join("; "));
    (!problems.is_empty()).then(|| Note { volume: "table".to_owned(), suffix: "ERROR", text })
}

/// What must be said of a volume whose beginning the vault can't give any more.
pub(super) fn damaged(volume: &PointVolume, error: &Error) -> Note {
    Note { volume: volume.name(), suffix: "ERROR", text: error.to_string() }
}

#[derive(Serialize)]
struct PointJson<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    #[serde(skip_serializing_if = "Option::is_none")]
    guest: Option<Facts>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<u64>,
    size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logical_volume: Option<LogicalJson>,
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    /// That the guest met errors in it, as it recorded there.
    #[serde(skip_serializing_if = "is_false")]
    has_recorded_errors: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl VolumeJson {
    /// Adds what is said by content that can only be named.
    fn identify(&mut self, bytes: &dyn BlockRead, content: &Content) -> Result<()> {
        match content {
            Content::Files(_) => {}
            Content::Failed(_) => guest::name(bytes).map_err(unwrapped)?.clone_into(&mut self.content),
            Content::Other(content) => {
                let identity = identify(bytes, *content).map_err(unwrapped)?;
                (self.label, self.uuid, self.used_bytes) = (identity.label, identity.uuid, identity.used_bytes);
            }
        }
        Ok(())
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Serialize)]
struct LogicalJson {
    group: String,
    group_uuid: String,
    name: String,
    uuid: String,
    layouts: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    snapshot: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    caution: Option<String>,
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
    // Of what fails now, and may not another time, no text is kept.
    let (mut opened, mut keep) = (Opened::default(), true);
    for (number, disk) in manifest.disks.iter().enumerate() {
        volumes.push(match disk_volumes(opener, point, number, &disk.name, &mut opened, &mut keep) {
            Ok(described) => described,
            // A damaged disk must not hide what is known of the point.
            Err(error) => {
                keep = false;
                let problems = vec![error.to_string()];
                DiskVolumes { disk: disk.name.clone(), table: "unreadable", problems, volumes: Vec::new() }
            }
        });
    }
    let guest = opened.facts();
    keep &= guest.as_ref().is_ok_and(|guest| guest.as_ref().is_none_or(|facts| !facts.has_failed_medium));
    let json = PointJson { manifest: &manifest, guest: guest.unwrap_or_default(), volumes };
    let text = Arc::new(printable(&serde_json::to_string_pretty(&json).unwrap_or_default()).into_bytes());
    if keep {
        *point.json.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&text));
    }
    Ok(text)
}

/// JSON without characters that a terminal obeys: a guest chose the labels in it. Those below 32 are escaped already.
fn printable(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        if character.is_control() && character != '\n' {
            text.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            text.push(character);
        }
    }
    text.push('\n');
    text
}

fn disk_volumes(
    opener: &Opener,
    point: &PointNode,
    disk: usize,
    name: &str,
    opened: &mut Opened,
    keep: &mut bool,
) -> Result<DiskVolumes> {
    let table = point.table(opener, disk)?;
    let logical = point.logical(opener)?;
    *keep &= !table.problems.iter().any(TableProblem::may_pass);
    let mut volumes = Vec::new();
    for (number, volume) in point.volumes(opener, disk)? {
        let mut json = describe(&volume, None);
        if volume.problem().is_none() {
            // Nor must a damaged volume hide its neighbours.
            let described = point.shown(opener, disk, number).and_then(|shown| {
                opened.add(name, &volume, &shown);
                json = describe(&volume, Some(&shown));
                let bytes = point.bytes(opener, disk, &volume, &shown)?;
                bytes.map_or(Ok(()), |bytes| json.identify(bytes.as_ref(), &shown.content))
            });
            if let Err(error) = described {
                json.problem = Some(error.to_string());
                *keep = false;
            }
        }
        volumes.push(json);
    }
    // Opening them is what reads some of it.
    *keep &= !logical.has_unread();
    Ok(DiskVolumes {
        disk: name.to_owned(),
        table: match table.kind {
            TableKind::None => "none",
            TableKind::Mbr => "mbr",
            TableKind::Gpt => "gpt",
            TableKind::Hybrid => "hybrid",
        },
        problems: table.problems.iter().map(ToString::to_string).chain(logical.problems(disk, name)).collect(),
        volumes,
    })
}

fn describe(volume: &PointVolume, shown: Option<&Shown>) -> VolumeJson {
    let (partition, logical) = match volume {
        PointVolume::Partition(volume) => (Some(volume), None),
        PointVolume::Logical(logical) => (None, Some(logical)),
    };
    let mut json = VolumeJson {
        name: volume.name(),
        start: partition.map(|volume| volume.start),
        size_bytes: volume.size_bytes(),
        partition_type: partition.map(|volume| volume.kind.name()),
        partition_label: partition.and_then(|volume| volume.label.clone()),
        partition_uuid: partition.and_then(|volume| volume.uuid.as_ref()).map(ToString::to_string),
        logical_volume: logical.map(|logical| describe_logical(logical, shown)),
        content: "unknown".to_owned(),
        label: None,
        uuid: None,
        used_bytes: None,
        state: None,
        has_recorded_errors: false,
        problem: volume.problem(),
    };
    match shown.map(|shown| &shown.content) {
        Some(Content::Files(file_system)) => {
            let info = file_system.info();
            json.content = info.file_system.to_owned();
            json.label.clone_from(&info.label);
            json.uuid = info.uuid.as_ref().map(ToString::to_string);
            json.used_bytes = Some(info.used_bytes);
            json.has_recorded_errors = info.has_recorded_errors;
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

fn describe_logical(logical: &Logical, shown: Option<&Shown>) -> LogicalJson {
    let volume = &logical.volume;
    LogicalJson {
        group: volume.group_name().to_owned(),
        group_uuid: volume.group_id().to_string(),
        name: volume.name().to_owned(),
        uuid: volume.id().to_string(),
        layouts: volume.layouts().into_iter().map(str::to_owned).collect(),
        snapshot: volume.is_snapshot(),
        caution: shown.and_then(|shown| shown.caution.clone()),
    }
}
