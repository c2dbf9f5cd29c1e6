//! What a vault stores of policies and machines: JSON documents, each in an entry of the vault's own chain.
//!
//! Invariants:
//! - what a document says that this program does not know is refused, never passed over: when it is set, and when it is read;
//! - a document is checked in the same way before it is stored and after it was read;
//! - what a locked policy promises is read even where the rest of its document is of a newer program: see [`Promise`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Retention, Schedule};
use crate::error::{Error, Result};
use crate::format::catalog_entry::Consistency;
use crate::quiesce::{DEFAULT_TIMEOUT, Quiesce};

/// The version that this program writes and reads.
const VERSION: u64 = 1;

/// Longest text in a document, in bytes: a path or a command.
const MOST_TEXT_BYTES: usize = 4096;

/// Most tags of a document: those of a policy and of a machine together are what a point may have.
const MOST_TAGS: usize = 32;

/// Longest tag, as `name=value`, in bytes.
const MOST_TAG_BYTES: usize = 256;

/// Most disks of a machine.
const MOST_DISKS: usize = 256;

/// When points of machines are made, and how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// When a point is due; never by itself, where none is given.
    #[serde(with = "optional_text", default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The IANA name of the zone whose clock the schedule goes by, and whose days and weeks points stand for.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Which points are kept.
    #[serde(with = "text")]
    pub retention: Retention,
    /// The only disks that are backed up, where some are given.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub include_disks: BTreeSet<String>,
    /// Disks that are not backed up.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude_disks: BTreeSet<String>,
    /// How consistent points are to be.
    pub consistency: Consistency,
    /// Whether a point is made all the same, as after a power cut, where it can't be that consistent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_crash: bool,
    /// Labels of its points, as `name=value`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Until when nothing may take away from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<LockEnd>,
}

/// What is backed up of a machine, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machine {
    /// Its disks: the name in points, and the absolute path of the file or device.
    pub disks: BTreeMap<String, PathBuf>,
    /// Disks that are not backed up.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub excluded_disks: BTreeSet<String>,
    /// The policy that it is under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Labels of its points, as `name=value`; of one name they come before the policy's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What runs around a backup.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    /// The command that makes a snapshot of its disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_command: Option<String>,
    /// Whether disks that are files are read from a reflinked copy.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reflink: bool,
    /// The absolute path of the directory for those copies, where they are not made beside each image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_dir: Option<PathBuf>,
    /// How consistent its scripts make its disks, where that is not what its policy asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
}

/// What runs around the backup of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hooks {
    /// What runs before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_script: Option<String>,
    /// What runs after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_script: Option<String>,
    /// How long each may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

impl Hooks {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Until when a policy is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockEnd {
    /// At that time, Unix seconds.
    Unix(i64),
    /// For ever.
    Ever,
}

impl LockEnd {
    /// Whether that is still to come.
    pub fn is_after(self, unix_seconds: i64) -> bool {
        match self {
            Self::Unix(end) => end > unix_seconds,
            Self::Ever => true,
        }
    }
}

impl fmt::Display for LockEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(end) => match Timestamp::from_second(*end) {
                Ok(time) => write!(formatter, "{time}"),
                Err(_) => write!(formatter, "@{end}"),
            },
            Self::Ever => formatter.write_str("the end of time"),
        }
    }
}

impl Serialize for LockEnd {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Unix(end) => serializer.serialize_i64(*end),
            Self::Ever => serializer.serialize_str("ever"),
        }
    }
}

impl<'de> Deserialize<'de> for LockEnd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let expected = || D::Error::custom("lockedUntil is Unix seconds or \"ever\"");
        match Value::deserialize(deserializer)? {
            Value::String(text) if text == "ever" => Ok(Self::Ever),
            Value::Number(number) => number.as_i64().map(Self::Unix).ok_or_else(expected),
            _ => Err(expected()),
        }
    }
}

/// A document of either kind.
pub trait Document: Serialize + DeserializeOwned {
    /// What it is of, for messages.
    const KIND: &'static str;

    /// Fails where something in it can't be.
    fn check(&self) -> Result<()>;

    /// The stored form.
    fn encode(&self) -> Result<Vec<u8>> {
        self.check()?;
        let failed = |error: serde_json::Error| Error::Document {
            kind: Self::KIND,
            name: String::new(),
            version: VERSION,
            problem: error.to_string(),
        };
        let mut value = serde_json::to_value(self).map_err(failed)?;
        if let Value::Object(fields) = &mut value {
            fields.insert("version".to_owned(), VERSION.into());
        }
        serde_json::to_vec(&value).map_err(failed)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`Error::Document`] where it is of another version, or says what this program does not know.
    fn decode(name: &str, bytes: &[u8]) -> Result<Self> {
        let failed =
            |version, problem: String| Error::Document { kind: Self::KIND, name: name.to_owned(), version, problem };
        let mut value: Value = serde_json::from_slice(bytes).map_err(|error| failed(0, error.to_string()))?;
        let version = value.as_object_mut().and_then(|fields| fields.remove("version"));
        let version = version.and_then(|version| version.as_u64()).unwrap_or(0);
        if version != VERSION {
            return Err(failed(version, format!("this program reads version {VERSION}")));
        }
        let document: Self = serde_json::from_value(value).map_err(|error| failed(version, error.to_string()))?;
        document.check().map_err(|error| failed(version, error.to_string()))?;
        Ok(document)
    }
}

impl Document for Policy {
    const KIND: &'static str = "policy";

    fn check(&self) -> Result<()> {
        check_tags(&self.tags)?;
        if self.include_disks.len() > MOST_DISKS || self.exclude_disks.len() > MOST_DISKS {
            return Err(invalid("policy", "its disks", "it names at most 256 of them"));
        }
        self.zone().map(drop)
    }
}

impl Document for Machine {
    const KIND: &'static str = "machine";

    fn check(&self) -> Result<()> {
        check_tags(&self.tags)?;
        if self.disks.is_empty() {
            return Err(invalid("machine", "its disks", "it has none"));
        }
        if self.disks.len() > MOST_DISKS || self.excluded_disks.len() > MOST_DISKS {
            return Err(invalid("machine", "its disks", "it names at most 256 of them"));
        }
        for path in self.disks.values() {
            let text = path.to_string_lossy();
            check_text("path of a disk", &text)?;
            // Whoever backs it up may be anywhere.
            if !path.is_absolute() {
                return Err(invalid("path of a disk", &text, "it must begin with \"/\""));
            }
        }
        let hooks = &self.hooks;
        for (what, text) in [
            ("script before a backup", &hooks.pre_script),
            ("script after a backup", &hooks.post_script),
            ("snapshot command", &self.snapshot_command),
        ] {
            text.as_ref().map_or(Ok(()), |text| check_text(what, text))?;
        }
        self.quiesce().check()
    }
}

impl Policy {
    /// A policy that keeps points so long, without a schedule.
    pub fn new(retention: Retention) -> Self {
        Self {
            schedule: None,
            time_zone: utc(),
            retention,
            include_disks: BTreeSet::new(),
            exclude_disks: BTreeSet::new(),
            consistency: Consistency::Crash,
            allow_crash: false,
            tags: BTreeMap::new(),
            locked_until: None,
        }
    }

    /// Its zone.
    pub fn zone(&self) -> Result<TimeZone> {
        let rule = "name it as Europe/Berlin or UTC; this system has no other";
        TimeZone::get(&self.time_zone).map_err(|_| invalid("time zone", &self.time_zone, rule))
    }
}

impl Machine {
    /// The disks that are backed up under a policy: its name, and where it is.
    pub fn disks_under<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = (&'a str, &'a Path)> {
        let is_in = |name: &String| policy.include_disks.is_empty() || policy.include_disks.contains(name);
        let is_out = |name: &String| policy.exclude_disks.contains(name) || self.excluded_disks.contains(name);
        self.disks
            .iter()
            .filter(move |(name, _)| is_in(name) && !is_out(name))
            .map(|(name, path)| (name.as_str(), path.as_path()))
    }

    /// How its disks are made to hold still, whatever a policy wants of that.
    pub fn quiesce(&self) -> Quiesce {
        let seconds = self.hooks.timeout_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        Quiesce {
            pre_script: self.hooks.pre_script.clone(),
            post_script: self.hooks.post_script.clone(),
            timeout: seconds.unwrap_or(DEFAULT_TIMEOUT),
            snapshot_command: self.snapshot_command.clone(),
            reflink: self.reflink,
            snapshot_dir: self.snapshot_dir.clone(),
            ..Quiesce::default()
        }
    }

    /// The labels of its points under a policy.
    pub fn tags_under(&self, policy: &Policy) -> Vec<String> {
        let all: BTreeMap<&String, &String> = policy.tags.iter().chain(&self.tags).collect();
        all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// What a policy promises while it is locked. Read from documents of any version: what is not known in them can't take the
/// lock away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promise {
    retention: String,
    /// The days that its numbers count are those of this zone: in another, other points stand for them.
    zone: String,
    locked_until: Option<LockEnd>,
}

impl Promise {
    /// What a document promises; nothing where it is none. An end that can't be understood is none.
    pub(crate) fn of(document: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(document) else { return Self::default() };
        let retention = match value.get("retention") {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let zone = match value.get("timeZone") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "UTC".to_owned(),
            Some(other) => other.to_string(),
        };
        let end = value.get("lockedUntil").filter(|end| !end.is_null());
        let locked_until = end.map(|end| LockEnd::deserialize(end).unwrap_or(LockEnd::Ever));
        Self { retention, zone, locked_until }
    }

    /// Until when nothing may take away from it, where that is still to come.
    pub(crate) fn locked_at(&self, unix_seconds: i64) -> Option<LockEnd> {
        self.locked_until.filter(|end| end.is_after(unix_seconds))
    }

    /// Whether this takes away from what another promises: its retention is shorter in anything, counts the days
    /// of another zone, or its lock ends earlier.
    pub(crate) fn weakens(&self, other: &Self) -> bool {
        let shortens = match (self.retention.parse::<Retention>(), other.retention.parse::<Retention>()) {
            (Ok(own), Ok(others)) => own.shortens(&others),
            // Of what can't be read, only the same is not less.
            _ => self.retention != other.retention,
        };
        shortens || self.zone != other.zone || self.locked_until < other.locked_until
    }
}

/// The policy that a machine's document names, of whatever version it is.
pub(crate) fn policy_of(document: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Under {
        policy: Option<String>,
    }
    serde_json::from_slice::<Under>(document).ok()?.policy
}

fn invalid(what: &'static str, value: &str, rule: &'static str) -> Error {
    Error::Invalid { what, value: value.to_owned(), rule }
}

fn check_text(what: &'static str, text: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(invalid(what, text, "it is empty"));
    }
    if text.len() > MOST_TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(invalid(what, text, "it must be of at most 4096 bytes without control characters"));
    }
    Ok(())
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<()> {
    if tags.len() > MOST_TAGS {
        return Err(invalid("tag", "the 33rd", "a policy or machine takes at most 32 tags"));
    }
    for (name, value) in tags {
        let is_name = !name.is_empty() && !name.contains('=');
        if !is_name
            || name.len() + 1 + value.len() > MOST_TAG_BYTES
            || format!("{name}{value}").contains(char::is_control)
        {
            let rule = "a tag is name=value, of at most 256 bytes without control characters";
            return Err(invalid("tag", &format!("{name}={value}"), rule));
        }
    }
    Ok(())
}

fn utc() -> String {
    "UTC".to_owned()
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What has a text form, as that.
mod text {
    use super::*;

    pub(super) fn serialize<T: fmt::Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> std::result::Result<T, D::Error>
    where
        T: std::str::FromStr<Err = Error>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The same, where it may be absent.
mod optional_text {
    use super::*;

    pub(super) fn serialize<T: fmt::Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> std::result::Result<Option<T>, D::Error>
    where
        T: std::str::FromStr<Err = Error>,
        D: Deserializer<'de>,
    {
        super::text::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            schedule: Some("daily 02:00 spread 1h".parse().expect("a schedule")),
            time_zone: "Europe/Berlin".to_owned(),
            include_disks: BTreeSet::from(["os".to_owned()]),
            allow_crash: true,
            tags: BTreeMap::from([("tier".to_owned(), "gold".to_owned())]),
            locked_until: Some(LockEnd::Ever),
            ..Policy::new("daily=7".parse().expect("a retention"))
        }
    }

    fn machine() -> Machine {
        Machine {
            disks: BTreeMap::from([("os".to_owned(), "/images/os.raw".into()), ("swap".to_owned(), "/dev/s".into())]),
            policy: Some("gold".to_owned()),
            tags: BTreeMap::from([("tier".to_owned(), "silver".to_owned())]),
            hooks: Hooks { pre_script: Some("/bin/true".to_owned()), post_script: None, timeout_seconds: Some(60) },
            reflink: true,
            snapshot_dir: Some("/images/snapshots".into()),
            consistency: Some(Consistency::FileSystem),
            ..Machine::default()
        }
    }

    #[test]
    fn documents_are_read_as_they_were_written() {
        let bytes = policy().encode().expect("encoded");
        assert_eq!(Policy::decode("gold", &bytes).expect("decoded"), policy());
        let text = String::from_utf8(bytes).expect("text");
        for part in [r#""lockedUntil":"ever""#, r#""retention":"daily=7""#, r#""version":1"#] {
            assert!(text.contains(part), "{text}");
        }
        let locked = Policy { locked_until: Some(LockEnd::Unix(1_900_000_000)), schedule: None, ..policy() };
        assert_eq!(Policy::decode("gold", &locked.encode().expect("encoded")).expect("decoded"), locked);
        assert_eq!(Machine::decode("web", &machine().encode().expect("encoded")).expect("decoded"), machine());
        let disks: Vec<_> = machine().disks_under(&policy()).map(|(name, _)| name.to_owned()).collect();
        assert_eq!((disks, machine().tags_under(&policy())), (vec!["os".to_owned()], vec!["tier=silver".to_owned()]));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name_and_version() {
        let with = |name: &str, value: Value| {
            let mut document: Value = serde_json::from_slice(&policy().encode().expect("encoded")).expect("JSON");
            document[name] = value;
            serde_json::to_vec(&document).expect("JSON")
        };
        for (bytes, words) in [
            (with("speed", 7.into()), ["version 1", "speed"]),
            (with("version", 2.into()), ["version 2", "reads version 1"]),
            (with("version", "1".into()), ["version 0", "reads version 1"]),
            (with("timeZone", "Mars/Olympus".into()), ["version 1", "Mars/Olympus"]),
            (with("schedule", "yearly".into()), ["version 1", "yearly"]),
            (with("lockedUntil", 1.5.into()), ["version 1", "lockedUntil"]),
            (with("tags", serde_json::json!({"a=b": "c"})), ["version 1", "a=b=c"]),
            (b"[]".to_vec(), ["version 0", "gold"]),
            (b"\xff".to_vec(), ["version 0", "gold"]),
            (vec![b'['; 60_000], ["version 0", "gold"]),
        ] {
            let told = Policy::decode("gold", &bytes).expect_err("refused").to_string();
            assert!(words.iter().all(|word| told.contains(word)), "{told}");
        }
        let mut relative = machine();
        relative.disks.insert("os".to_owned(), "os.raw".into());
        let mut slow = machine();
        slow.hooks.timeout_seconds = Some(0);
        let mut empty = machine();
        empty.hooks.pre_script = Some(" ".to_owned());
        for wrong in [relative, slow, empty, Machine::default()] {
            assert!(matches!(wrong.encode(), Err(Error::Invalid { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn a_promise_outlives_what_is_not_known_beside_it() {
        let promise = |text: &str| Promise::of(text.as_bytes());
        let locked = promise(r#"{"version":9,"retention":"daily=7","lockedUntil":2000,"more":{"x":[1]}}"#);
        assert_eq!((locked.locked_at(1999), locked.locked_at(2000)), (Some(LockEnd::Unix(2000)), None));
        for (text, weakens) in [
            (r#"{"retention":"daily=7","lockedUntil":2000}"#, false),
            (r#"{"retention":"daily=8,weekly=1","lockedUntil":"ever"}"#, false),
            (r#"{"retention":"daily=6","lockedUntil":"ever"}"#, true),
            (r#"{"retention":"daily=7","lockedUntil":1999}"#, true),
            (r#"{"retention":"daily=7"}"#, true),
            (r#"{"retention":"fortnightly=7","lockedUntil":2000}"#, true),
            ("", true),
            ("7", true),
        ] {
            assert_eq!(promise(text).weakens(&locked), weakens, "{text}");
        }
        assert!(promise(r#"{"retention":{"days":7},"lockedUntil":"2090-01-01"}"#).locked_at(i64::MAX - 1).is_some());
        let unknown = promise(r#"{"retention":"fortnightly=7","lockedUntil":2000}"#);
        assert!(!unknown.weakens(&unknown.clone()) && promise(r#"{"retention":"daily=7"}"#).weakens(&unknown));
    }
}
