//! How far each chain of a vault had come, to be kept outside of it.
//!
//! A chain binds each entry to the one before, so nothing in its midst can be dropped or changed unnoticed. That its newest
//! entries are gone, or that the whole vault is an older copy, only somebody can tell who remembers more: a number of
//! entries and the hash of the last one, for each chain. From them all entries before follow.
//!
//! As text: a line `icecore heads 1`, a line `vault` and the vault's id, then a line for each chain: the hash of its last
//! entry (64 hex digits), the number of entries, the chain's id (32 hex digits), and the machine's name where it is told; last
//! a line `chains` and their number, without which the text was cut short.
//! Comparing needs no key: ids, numbers and hashes are those of the files.

use std::collections::HashMap;
use std::fmt;

use super::entries;
use crate::error::{Error, Result};
use crate::format::catalog_entry::{self, split};
use crate::format::{HASH_BYTES, Hash, Id, hex, id_from_hex};
use crate::media::Media;

/// The first line.
const TITLE: &str = "icecore heads 1";

/// Longest text that is read, about a million chains.
pub const MOST_HEADS_BYTES: u64 = 128 << 20;

/// How far the chains of a vault had come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The vault's id, 32 hex digits.
    pub vault: String,
    /// One for each chain that has entries.
    pub chains: Vec<ChainHead>,
}

/// How far a chain had come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The chain's id.
    pub(crate) chain: Id,
    /// How many entries it had.
    pub entries: u64,
    /// The hash of the last one.
    pub(crate) hash: Hash,
    /// The machine whose chain it is, where that is told.
    pub machine: Option<String>,
}

/// A chain that did not go on from where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setback {
    /// Where it was.
    pub head: ChainHead,
    /// Where it is.
    pub found: Found,
}

/// What was found where a chain's last entry was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The chain ends before it, with so many entries.
    Fewer(u64),
    /// Another entry, and a whole one.
    Another,
    /// Nothing that could be compared, and why.
    Unknown(String),
}

impl Heads {
    /// As text.
    pub fn encode(&self) -> String {
        let lines = self.chains.iter().map(|head| {
            let machine = head.machine.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            format!("{} {} {}{machine}\n", head.hash_hex(), head.entries, head.chain_hex())
        });
        format!("{TITLE}\nvault {}\n{}chains {}\n", self.vault, lines.collect::<String>(), self.chains.len())
    }

    /// From text.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the line that is none.
    pub fn decode(text: &str) -> Result<Self> {
        let invalid = |line: &str, rule| {
            let value = line.chars().take(80).collect();
            Error::Invalid { what: "heads file", value, rule }
        };
        let mut lines = text.lines();
        let title = lines.next().unwrap_or_default();
        if title != TITLE {
            return Err(invalid(title, "its first line must be \"icecore heads 1\""));
        }
        let line = lines.next().unwrap_or_default();
        let vault = line.strip_prefix("vault ").filter(|id| id_from_hex(id).is_some());
        let vault = vault.ok_or_else(|| invalid(line, "its second line must be \"vault\" and the vault's id"))?;
        let rule = "a line has a hash, a number of entries, a chain's id, and may have a name";
        let last = lines.next_back().unwrap_or_default();
        let chains = lines.map(|line| ChainHead::decode(line).ok_or_else(|| invalid(line, rule)));
        let chains: Vec<ChainHead> = chains.collect::<Result<_>>()?;
        if last.strip_prefix("chains ") != Some(&chains.len().to_string()) {
            return Err(invalid(last, "its last line must be \"chains\" and their number: it was cut short"));
        }
        Ok(Self { vault: vault.to_owned(), chains })
    }

    /// Only the chains that are elsewhere than in `others`.
    #[must_use]
    pub fn besides(&self, others: &Self) -> Self {
        let places: HashMap<Id, (u64, Hash)> =
            others.chains.iter().map(|head| (head.chain, (head.entries, head.hash))).collect();
        let is_same = |head: &&ChainHead| places.get(&head.chain) == Some(&(head.entries, head.hash));
        let chains = self.chains.iter().filter(|head| !is_same(head)).cloned().collect();
        Self { vault: self.vault.clone(), chains }
    }

    /// Only the chain of one machine.
    #[must_use]
    pub fn of_machine(mut self, machine: &str) -> Self {
        self.chains.retain(|head| head.machine.as_deref() == Some(machine));
        self
    }
}

impl ChainHead {
    /// The hash of the last entry, 64 hex digits.
    pub fn hash_hex(&self) -> String {
        hex(&self.hash)
    }

    /// The chain's id, 32 hex digits.
    pub fn chain_hex(&self) -> String {
        hex(&self.chain)
    }

    fn decode(line: &str) -> Option<Self> {
        let mut fields = line.splitn(4, ' ');
        let hash = hash_from_hex(fields.next()?)?;
        let entries = fields.next()?.parse().ok().filter(|entries| *entries > 0)?;
        let chain = id_from_hex(fields.next()?)?;
        Some(Self { chain, entries, hash, machine: fields.next().map(str::to_owned) })
    }

    /// Whether the chain went on from here; what was found instead where it did not. What can't be looked at is an answer
    /// for this chain alone: somebody may have seen to it.
    fn compare(&self, media: &dyn Media) -> Option<Found> {
        let sequence = self.entries.saturating_sub(1);
        let name = catalog_entry::object(&self.chain, sequence);
        let unknown = |error: Error| Some(Found::Unknown(error.to_string()));
        match media.exists(&name) {
            Ok(true) => {}
            Ok(false) => return self.without_entry(media).unwrap_or_else(unknown),
            Err(error) => return unknown(error),
        }
        let stored = entries::stored(media, &self.chain, sequence);
        let bytes = match stored.and_then(|stored| stored) {
            Ok(bytes) => bytes,
            Err(error) => return unknown(error),
        };
        if *blake3::hash(&bytes).as_bytes() == self.hash {
            None
        } else if let Err(error) = split(&bytes) {
            unknown(error.at(&name, 0))
        } else {
            Some(Found::Another)
        }
    }

    fn without_entry(&self, media: &dyn Media) -> Result<Option<Found>> {
        let listed = entries::sequences(media, &self.chain)?;
        let found = listed.last().map_or(0, |last| last.saturating_add(1));
        Ok(Some(if found < self.entries {
            Found::Fewer(found)
        } else {
            Found::Unknown("it is missing, and there are later ones".to_owned())
        }))
    }

    /// Whether this is the same chain.
    pub fn is_of_chain(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

/// The chains that did not go on from where they were.
pub(crate) fn setbacks(media: &dyn Media, heads: &Heads) -> Vec<Setback> {
    let compared = entries::each(&heads.chains, |head| head.compare(media));
    let with_heads = heads.chains.iter().zip(compared);
    with_heads.filter_map(|(head, found)| Some(Setback { head: head.clone(), found: found? })).collect()
}

impl Setback {
    /// Whether the chain certainly went back; otherwise it is only damaged where it would be compared.
    pub fn is_certain(&self) -> bool {
        !matches!(self.found, Found::Unknown(_))
    }
}

impl fmt::Display for Setback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.head.machine {
            Some(machine) => write!(f, "{machine}: ")?,
            // The vault's own has none.
            None => write!(f, "chain {}: ", self.head.chain_hex())?,
        }
        let entries = self.head.entries;
        match &self.found {
            Found::Fewer(found) => {
                let plural = if entries == 1 { "entry" } else { "entries" };
                write!(f, "its catalog had {entries} {plural} and has {found}: the newest are gone")
            }
            Found::Another => write!(f, "entry {entries} of its catalog is another one than it was"),
            Found::Unknown(why) => write!(f, "entry {entries} of its catalog can't be compared: {why}"),
        }
    }
}

fn hash_from_hex(digits: &str) -> Option<Hash> {
    let (first, second) = digits.split_at_checked(HASH_BYTES)?;
    let halves = [id_from_hex(first)?, id_from_hex(second)?];
    halves.concat().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{ChainHead, Heads};

    fn heads() -> Heads {
        let head = |number: u8, machine: Option<&str>| ChainHead {
            chain: [number; 16],
            entries: u64::from(number),
            hash: [number ^ 0xff; 32],
            machine: machine.map(str::to_owned),
        };
        let chains = vec![head(1, Some("web01")), head(2, Some("with a space ")), head(3, None)];
        Heads { vault: "07".repeat(16), chains }
    }

    #[test]
    fn text_is_read_as_it_was_written() {
        let text = heads().encode();
        assert_eq!(Heads::decode(&text).expect("heads"), heads());
        assert_eq!(heads().of_machine("web01").chains, heads().chains[..1]);
        // Nothing is known of an empty vault, and that too can be kept.
        let none = Heads { chains: Vec::new(), ..heads() };
        assert_eq!(Heads::decode(&none.encode()).expect("heads"), none);
    }

    #[test]
    fn what_is_no_heads_file_is_refused() {
        let text = heads().encode();
        for (part, other) in [
            ("heads 1", "heads 2"),
            ("vault 07", "vault 7"),
            ("vault ", ""),
            (" 1 ", " 0 "),
            (" 1 ", " -1 "),
            (" 1 ", "  "),
            ("fefe", "fef"),
            ("fefe", "FEFE"),
            (" web01\n", " web01\n\n"),
            ("0101 web01", "010 web01"),
            ("chains 3\n", ""),
            ("chains 3", "chains 2"),
        ] {
            assert!(Heads::decode(&text.replacen(part, other, 1)).is_err(), "{part:?} {other:?}");
        }
        assert!(Heads::decode("").is_err());
        // By characters, not bytes.
        assert!(Heads::decode(&"\u{e9}".repeat(200)).is_err());
    }
}
