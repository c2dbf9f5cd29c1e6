//! What the guest's programs are for, from the header of one of them (ELF, System V ABI, "ELF Header").

use super::Facts;
use super::view::View;
use crate::guest::bytes::{be16_at, u8_at, u16_at};
use crate::guest::{Error, GuestFileSystem};

/// Programs that every system has one of.
const PROGRAMS: [&str; 5] = ["bin/sh", "usr/bin/env", "sbin/init", "bin/busybox", "usr/lib/systemd/systemd"];

const HEADER_BYTES: u64 = 64;

impl Facts {
    pub(super) fn read_architecture<T: GuestFileSystem>(&mut self, view: &View<'_, T>) -> Option<&'static str> {
        PROGRAMS.into_iter().find_map(|path| {
            let header: Result<_, Error> = view.read_up_to(path, HEADER_BYTES);
            machine(&self.note(path, header)?)
        })
    }
}

/// The machine as `uname -m` has it.
fn machine(header: &[u8]) -> Option<&'static str> {
    let is_wide = match u8_at(header, 4)? {
        1 => false,
        2 => true,
        _ => return None,
    };
    let is_little = match u8_at(header, 5)? {
        1 => true,
        2 => false,
        _ => return None,
    };
    let machine = if is_little { u16_at(header, 18)? } else { be16_at(header, 18)? };
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    Some(match (machine, is_wide, is_little) {
        (3, ..) => "i686",
        (62, true, _) => "x86_64",
        (40, ..) => "arm",
        (183, ..) => "aarch64",
        (243, true, _) => "riscv64",
        (243, false, _) => "riscv32",
        (21, _, true) => "ppc64le",
        (21, _, false) => "ppc64",
        (20, ..) => "ppc",
        (22, true, _) => "s390x",
        (8, true, _) => "mips64",
        (8, false, _) => "mips",
        (258, true, _) => "loongarch64",
        (2 | 18 | 43, ..) => "sparc",
        _ => return None,
    })
}
