//! File systems of an image, mounted by the kernel.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system and how it is mounted.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub options: &'static str,
    pub size_bytes: u64,
    make: &'static [&'static str],
}

/// Without what goes on in the background once it is mounted: only what we do is to be seen.
const EXT4: &[&str] = &["-q", "-F", "-b", "4096", "-J", "size=8", "-E", "lazy_itable_init=0,lazy_journal_init=0"];

pub const KINDS: [Kind; 3] = [
    Kind { name: "ext4", options: "noatime", size_bytes: 96 << 20, make: EXT4 },
    Kind { name: "ext4", options: "noatime,data=writeback,noauto_da_alloc", size_bytes: 96 << 20, make: EXT4 },
    // The smallest that mkfs.xfs makes.
    Kind { name: "xfs", options: "noatime", size_bytes: 300 << 20, make: &["-q", "-f", "-K"] },
];

/// One that shares blocks between files, and that no power is cut below.
pub const BTRFS: Kind = Kind { name: "btrfs", options: "noatime", size_bytes: 256 << 20, make: &["-q", "-f"] };

impl Kind {
    /// Makes one in a new file.
    pub fn make(&self, image: &Path) -> Result<(), String> {
        let file = std::fs::File::create(image).and_then(|file| file.set_len(self.size_bytes));
        file.map_err(|error| error.to_string())?;
        run(tool(&format!("mkfs.{}", self.name)).args(self.make).arg(image)).map(drop)
    }
}

/// A mounted image: unmounted when dropped, and its loop device free again.
pub struct Attached {
    device: String,
    place: PathBuf,
    mounted: bool,
}

impl Attached {
    /// Mounts the file system of an image on a new directory.
    pub fn mount(kind: &Kind, image: &Path, place: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(place).map_err(|error| error.to_string())?;
        // Not `mount -o loop`: what failed between the two would leave the device behind.
        let device = run(tool("losetup").args(["--find", "--show"]).arg(image))?;
        let mut attached = Self { device, place: place.to_owned(), mounted: false };
        run(tool("mount").args(["-t", kind.name, "-o", kind.options, &attached.device]).arg(place))?;
        attached.mounted = true;
        Ok(attached)
    }

    pub fn path(&self) -> &Path {
        &self.place
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.mounted && run(tool("umount").arg(&self.place)).is_err() {
            // Somebody who looks in from elsewhere; out of sight at least.
            let _ = run(tool("umount").arg("-l").arg(&self.place));
        }
        let _ = run(tool("losetup").arg("--detach").arg(&self.device));
    }
}

/// A tool, also where an ordinary user's `PATH` does not lead.
pub fn tool(name: &str) -> Command {
    let path = format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("env");
    command.arg(format!("PATH={path}")).arg(name);
    command
}

/// Runs a tool; where it fails, why.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
