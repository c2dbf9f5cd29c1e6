//! Which kernel the boot loader starts next: GRUB's configuration and environment, and Boot Loader Specification entries.
//!
//! The configuration is a program; only the form that `grub-mkconfig` gives it is understood. Where an entry is chosen in
//! another way, nothing is told rather than a guess.

use super::kernels::{compare, version_of};
use super::view::View;
use super::{Facts, lines, text};
use crate::guest::GuestFileSystem;

const FOLDERS: [&str; 2] = ["boot/grub", "boot/grub2"];
const ENTRIES: &str = "boot/loader/entries";

impl Facts {
    pub(super) fn read_boots_next<T: GuestFileSystem>(&mut self, view: &View<'_, T>) -> Option<String> {
        let mut read = |path: String| self.note(&path, view.read(&path));
        let (folder, configuration) =
            FOLDERS.iter().find_map(|folder| Some((folder, read(format!("{folder}/grub.cfg"))?)))?;
        let environment = read(format!("{folder}/grubenv")).unwrap_or_default();
        let chosen = chosen(&configuration, &environment);
        if lines(&configuration).any(|line| line == b"blscfg") {
            let entry = self.entry(view, &chosen)?;
            let entry = self.note(&entry, view.read(&entry))?;
            let version = word_after(&entry, b"linux").and_then(|path| version_in(&path));
            return version.or_else(|| word_after(&entry, b"version"));
        }
        kernel_of(&configuration, &chosen)
    }

    /// The path of the Boot Loader Specification entry that is chosen: the newest, where none is by name.
    fn entry<T: GuestFileSystem>(&mut self, view: &View<'_, T>, chosen: &str) -> Option<String> {
        let names = self.names(view, ENTRIES);
        let mut entries: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".conf")).collect();
        entries.retain(|name| if is_first(chosen) { !name.contains("-0-rescue") } else { *name == chosen });
        let newest = entries.into_iter().max_by(|a, b| compare(a.as_bytes(), b.as_bytes()))?;
        Some(format!("{ENTRIES}/{newest}.conf"))
    }
}

/// What is chosen: an entry's number, id or title; empty for the first.
fn chosen(configuration: &[u8], environment: &[u8]) -> String {
    // No shell reads this file: a value ends where its line does.
    let saved = |name: &[u8]| lines(environment).find_map(|line| text(line.strip_prefix(name)?));
    if let Some(once) = saved(b"next_entry=") {
        return once;
    }
    // Of the branches of a condition the last one is what holds where nothing is chosen for once.
    let set = lines(configuration).filter_map(|line| line.strip_prefix(b"set default=")).filter_map(text).last();
    match set.as_deref().map(|set| set.trim_matches('"')) {
        Some("${saved_entry}") => saved(b"saved_entry=").unwrap_or_default(),
        Some(set) => set.to_owned(),
        None => String::new(),
    }
}

fn is_first(chosen: &str) -> bool {
    matches!(chosen, "" | "0")
}

/// The version of the kernel that an entry of the menu starts.
fn kernel_of(configuration: &[u8], chosen: &str) -> Option<String> {
    let lines: Vec<&[u8]> = lines(configuration).collect();
    let is_item = |line: &&[u8]| line.starts_with(b"menuentry ") || line.starts_with(b"submenu ");
    let begins = if is_first(chosen) {
        lines.iter().position(is_item).filter(|at| lines.get(*at).is_some_and(|line| line.starts_with(b"menuentry ")))
    } else {
        // `submenu>entry`, by id or title; both stand in quotes where the entry begins.
        let quoted = format!("'{}'", chosen.rsplit('>').next()?);
        let names = |line: &&[u8]| line.windows(quoted.len()).any(|part| part == quoted.as_bytes());
        lines.iter().position(|line| line.starts_with(b"menuentry ") && names(line))
    }?;
    let entry = lines.get(begins.checked_add(1)?..)?.iter().take_while(|line| !is_item(line));
    let path = entry.filter(|line| line.starts_with(b"linux")).find_map(|line| word(line, 1))?;
    version_in(&path)
}

/// The version in the path of a kernel.
fn version_in(path: &str) -> Option<String> {
    version_of(path.rsplit('/').next()?).map(str::to_owned)
}

/// The word behind another that begins a line.
fn word_after(file: &[u8], first: &[u8]) -> Option<String> {
    lines(file).filter(|line| line.split(u8::is_ascii_whitespace).next() == Some(first)).find_map(|line| word(line, 1))
}

fn word(line: &[u8], number: usize) -> Option<String> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(number).and_then(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &[u8] = b"if [ \"${next_entry}\" ] ; then\n   set default=\"${next_entry}\"\nelse\n   set default=\"DEFAULT\"\n\
        fi\nmenuentry 'Debian' --class debian $menuentry_id_option 'gnulinux-simple-1' {\n\
        \tlinux\t/boot/vmlinuz-6.1.0-18-amd64 root=UUID=1 ro\n}\nsubmenu 'Advanced' $menuentry_id_option 'advanced-1' {\n\
        \tmenuentry 'old' $menuentry_id_option 'gnulinux-5.10-1' {\n\t\tlinux\t/vmlinuz-5.10.0-9-amd64 ro\n\t}\n}\n";

    /// Promise 5. Guards: the kernel that is told is the one that GRUB starts, or none.
    #[test]
    fn the_chosen_entry_tells_the_kernel() {
        let new = Some("6.1.0-18-amd64");
        let old = Some("5.10.0-9-amd64");
        for (default, environment, expected) in [
            ("0", "", new),
            ("${saved_entry}", "", new),
            ("${saved_entry}", "saved_entry=advanced-1>gnulinux-5.10-1\n", old),
            ("0", "saved_entry=gnulinux-5.10-1\n", new),
            ("0", "next_entry=old\n", old),
            ("1>2", "", None),
            ("gone", "", None),
        ] {
            let configuration = String::from_utf8_lossy(DEBIAN).replace("DEFAULT", default).into_bytes();
            let kernel = kernel_of(&configuration, &chosen(&configuration, environment.as_bytes()));
            assert_eq!(kernel.as_deref(), expected, "{default} {environment}");
        }
    }
}
