//! What the tests of the command line need: a vault in a directory of its own, and the binary run as a person would.

#![allow(missing_docs, dead_code, reason = "each test file uses its own part")]

pub mod mounting;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use icecore::Vault;
use icecore::seal::{Credential, PasswordCost};
use icecore::vault::InitOptions;
use serde_json::Value;

/// Argon2id at its cheapest: each run of the binary opens the vault once more.
const CHEAP: PasswordCost = PasswordCost { passes: 1, memory_kib: 8, lanes: 1 };

/// A directory with a vault in it, `vault`, and its password in a file.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

/// The binary, ended.
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Sandbox {
    /// Small chunks and segments, so that small disks have something to spread over. Without parity: what is damaged stays
    /// damaged.
    pub fn new() -> Self {
        let small = InitOptions { chunk_bytes: 4096, segment_bytes: 1 << 20, ..InitOptions::default() };
        Self::with(&InitOptions { parity_percent: 0, ..small })
    }

    pub fn with(options: &InitOptions) -> Self {
        let sandbox = Self::empty();
        let options = InitOptions { password_cost: CHEAP, ..options.clone() };
        let password = Credential::password(*b"correct horse");
        Vault::init(&sandbox.path("vault"), &password, &options).expect("init");
        sandbox
    }

    /// Without a vault, but with the password for one.
    pub fn empty() -> Self {
        let sandbox = Self { dir: tempfile::tempdir().expect("tempdir") };
        std::fs::write(sandbox.path("password"), "correct horse\n").expect("password file");
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file is written");
        path
    }

    /// The binary in this directory, with vault and password in the environment and no terminal.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_icecore"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ICECORE_")) {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("ICECORE_VAULT", "vault").env("ICECORE_PASSWORD_FILE", "password");
        command.env("XDG_STATE_HOME", self.path("state"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the binary runs"))
    }

    /// Runs what must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stderr, "", "{arguments:?}");
        ran
    }

    /// Runs what must fail with this code and one line that says what happened, what is safe and what to do.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        self.run(arguments).failed(code, arguments)
    }

    /// The name of a machine's newest point.
    pub fn latest(&self, machine: &str) -> String {
        let points = self.ok(&["points", machine, "--json"]).json();
        points.as_array().and_then(|points| points.last()?["point"].as_str()).expect("a point").to_owned()
    }

    /// Number of points in the vault.
    pub fn points(&self) -> usize {
        self.ok(&["points", "--json"]).json().as_array().expect("an array").len()
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or(0));
        Self { code, stdout: output.stdout, stderr: String::from_utf8(output.stderr).expect("errors are UTF-8") }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("UTF-8")
    }

    /// Standard output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).expect("one JSON value")
    }

    /// Standard output as lines of JSON.
    pub fn json_lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    pub fn failed(&self, code: i32, what: &[&str]) -> String {
        assert_eq!(self.code, code, "{what:?}: {}", self.stderr);
        assert_eq!(self.stderr.matches('\n').count(), 1, "{what:?} told {:?}", self.stderr);
        let line = self.stderr.trim_end();
        assert!(line.starts_with("icecore: "), "{what:?} told {line:?}");
        assert!(line.split("; ").count() >= 3, "{what:?} told {line:?}");
        assert!(!line.chars().any(char::is_control), "{what:?} told {line:?}");
        line.to_owned()
    }
}

/// Bytes that do not repeat and do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Tells that a test could not run here. Such a test passes.
pub fn not_run(test: &str, why: &str) {
    eprintln!("NOT RUN: {test}: {why}");
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A file system in memory of so many bytes, unmounted when dropped; `None` where one can't be made.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(at: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a directory");
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        mounted.ok().filter(|output| output.status.success()).map(|_| Self(at.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A disk without a partition table, with an ext4 file system made of a directory; `None` without mke2fs.
pub fn ext4(image: &Path, from: &Path, bytes: u64) -> Option<()> {
    std::fs::File::create(image).and_then(|file| file.set_len(bytes)).expect("an image");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let made = Command::new("mke2fs").env("PATH", path).args(["-q", "-t", "ext4", "-d"]).arg(from).arg(image).output();
    made.ok().filter(|output| output.status.success()).map(|_| ())
}
