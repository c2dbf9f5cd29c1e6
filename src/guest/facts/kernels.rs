//! Which kernels are installed.

use std::cmp::Ordering;

use super::view::View;
use super::{Facts, text};
use crate::guest::GuestFileSystem;

/// What the names of kernels in `/boot` begin with.
const PREFIXES: [&str; 2] = ["vmlinuz-", "vmlinux-"];

/// Most kernels that are told of.
const MOST_KERNELS: usize = 32;

impl Facts {
    /// Versions, the newest first: of the kernels in `/boot`; where none has a version in its name, of their modules.
    pub(super) fn read_kernels<T: GuestFileSystem>(&mut self, view: &View<'_, T>) -> Vec<String> {
        let mut kernels: Vec<String> =
            self.names(view, "boot").iter().filter_map(|name| version_of(name)).map(str::to_owned).collect();
        let by_modules = kernels.is_empty();
        if by_modules {
            kernels = self.names(view, "lib/modules");
            kernels.retain(|name| is_version(name));
        }
        kernels.sort_unstable_by(|a, b| compare(b.as_bytes(), a.as_bytes()));
        kernels.dedup();
        kernels.truncate(MOST_KERNELS);
        // What a removed kernel leaves is a directory with next to nothing in it.
        let is_whole = |name: &String| view.has_directory(&format!("lib/modules/{name}/kernel")).unwrap_or(true);
        kernels.retain(|name| !by_modules || is_whole(name));
        kernels
    }

    /// The names in a directory that are text.
    pub(super) fn names<T: GuestFileSystem>(&mut self, view: &View<'_, T>, path: &str) -> Vec<String> {
        let names = self.note(path, view.list(path).map(Some)).unwrap_or_default();
        names.iter().filter_map(|name| text(name)).collect()
    }
}

/// The version in a kernel's file name.
pub(super) fn version_of(name: &str) -> Option<&str> {
    let version = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    is_version(version).then_some(version)
}

fn is_version(name: &str) -> bool {
    // `vmlinuz-0-rescue-<machine id>` is a copy of some other one.
    name.starts_with(|first: char| first.is_ascii_digit()) && !name.starts_with("0-rescue")
}

/// Compares versions: numbers by value, all else byte by byte.
pub(super) fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let (digits_a, digits_b) = (leading_digits(&mut a), leading_digits(&mut b));
        // Numbers of any length, without leading zeros: the longer one is larger.
        let numbers = digits_a.len().cmp(&digits_b.len()).then_with(|| digits_a.cmp(digits_b));
        if numbers != Ordering::Equal {
            return numbers;
        }
        match (a, b) {
            ([first_a, rest_a @ ..], [first_b, rest_b @ ..]) if first_a == first_b => (a, b) = (rest_a, rest_b),
            _ => return a.first().cmp(&b.first()),
        }
    }
}

/// Cuts the digits off the front, leading zeros left out.
fn leading_digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 5. Guards: the newest kernel stands first, also where its number has more digits.
    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let ordered =
            ["5.10.0-9-amd64", "5.10.0-28-amd64", "5.10.0-28-cloud-amd64", "6.1.0-18-amd64", "6.1.10-1", "10.0"];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0].as_bytes(), pair[1].as_bytes()), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1].as_bytes(), pair[0].as_bytes()), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare(b"5.014.0-1", b"5.14.0-01"), Ordering::Equal);
    }
}
