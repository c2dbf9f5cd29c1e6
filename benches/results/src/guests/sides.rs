//! The two sides: a vault's mount, and the kernel's own of the raw image. Both begin with empty caches.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::images::{self, FIRST, Image, Kind};
use crate::child;
use crate::mounted::Mounted;

/// A mounted image.
pub trait Side {
    /// The root of its file system.
    fn root(&self) -> &Path;

    /// Seconds from the start of the command until the first file could be read.
    fn ready_seconds(&self) -> f64;

    /// Unmounts; answers the largest anonymous memory of whoever served it, in bytes.
    fn finish(self) -> Result<u64>;
}

/// A vault that the images are backed up to.
#[derive(Debug)]
pub struct Vault {
    program: PathBuf,
    path: PathBuf,
    key: PathBuf,
    log: PathBuf,
}

impl Vault {
    /// Makes it.
    pub fn new(program: &Path, dir: &Path) -> Result<Self> {
        let vault =
            Self { program: program.into(), path: dir.join("vault"), key: dir.join("key"), log: dir.join("log") };
        fs::write(&vault.key, "nothing here is secret, and 32 bytes or more it must be")?;
        child::run(&mut vault.command(&["init"]), &vault.log)?;
        Ok(vault)
    }

    /// Makes a point of all images.
    pub fn back_up(&self, images: &[Image]) -> Result<()> {
        eprintln!("backup");
        let mut command = self.command(&["backup", "vm"]);
        for image in images {
            command.arg("--disk").arg(format!("{}={}", image.disk(), image.path.display()));
        }
        child::run(&mut command, &self.log)?;
        Ok(())
    }

    /// Mounts it, to look at one image.
    pub fn mount(&self, dir: &Path, image: &Image) -> Result<ThroughVault> {
        let at = dir.join("vault-mount");
        let root = at.join("vm/latest/files").join(image.disk()).join("whole");
        super::forget(dir)?;
        let mut command = self.command(&["mount", "--foreground"]);
        let mounted = Mounted::start(command.arg(&at), &at, &root.join(FIRST), &self.log)?;
        Ok(ThroughVault { mounted, root })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("ICECORE_VAULT", &self.path).env("ICECORE_KEY_FILE", &self.key);
        command
    }
}

/// An image through the vault's mount.
#[derive(Debug)]
pub struct ThroughVault {
    mounted: Mounted,
    root: PathBuf,
}

impl Side for ThroughVault {
    fn root(&self) -> &Path {
        &self.root
    }

    fn ready_seconds(&self) -> f64 {
        self.mounted.ready_seconds
    }

    fn finish(self) -> Result<u64> {
        Ok(self.mounted.finish()?.peak_bytes)
    }
}

/// An image through the kernel's driver.
#[derive(Debug)]
pub struct Kernel {
    mounted: Loop,
    ready_seconds: f64,
    /// A copy, where mounting writes.
    copy: Option<PathBuf>,
}

impl Kernel {
    /// Mounts it; a dirty one so that its log is replayed, which the kernel does on the disk itself.
    pub fn mount(dir: &Path, image: &Image) -> Result<Self> {
        let copy = (image.state == "dirty").then(|| dir.join("copy.raw"));
        if let Some(copy) = &copy {
            images::copy(&image.path, copy, &dir.join("log"))?;
            File::open(copy)?.sync_all()?;
        }
        super::forget(dir)?;
        let began = Instant::now();
        let options = if copy.is_some() { "rw" } else { "ro" };
        let mounted = Loop::mount(dir, copy.as_ref().unwrap_or(&image.path), image.kind, options)?;
        fs::read(mounted.root().join(FIRST))?;
        Ok(Self { mounted, ready_seconds: began.elapsed().as_secs_f64(), copy })
    }
}

impl Side for Kernel {
    fn root(&self) -> &Path {
        self.mounted.root()
    }

    fn ready_seconds(&self) -> f64 {
        self.ready_seconds
    }

    fn finish(self) -> Result<u64> {
        self.mounted.unmount()?;
        if let Some(copy) = &self.copy {
            fs::remove_file(copy).with_context(|| copy.display().to_string())?;
        }
        Ok(0)
    }
}

/// The kernel's mount of an image through a loop device, gone when dropped.
#[derive(Debug)]
pub struct Loop {
    at: PathBuf,
    is_mounted: bool,
}

impl Loop {
    /// Mounts an image.
    pub fn mount(dir: &Path, image: &Path, kind: Kind, options: &str) -> Result<Self> {
        let at = dir.join("kernel-mount");
        fs::create_dir_all(&at)?;
        let options = format!("{options},loop{}", kind.mount_options());
        let mut mount = Command::new("mount");
        child::run(mount.args(["-t", kind.name(), "-o", &options]).arg(image).arg(&at), &dir.join("log"))?;
        Ok(Self { at, is_mounted: true })
    }

    /// The root of its file system.
    pub fn root(&self) -> &Path {
        &self.at
    }

    /// Unmounts it.
    pub fn unmount(mut self) -> Result<()> {
        self.detach()
    }

    fn detach(&mut self) -> Result<()> {
        // Whoever just ended may still hold a file.
        for _ in 0..50 {
            if Command::new("umount").arg(&self.at).status().is_ok_and(|status| status.success()) {
                self.is_mounted = false;
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("{} does not let itself be unmounted", self.at.display())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = self.detach();
        }
    }
}
