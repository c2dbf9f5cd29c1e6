//! Images made by `mke2fs`, and the kernel's own mount of them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command that must succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} can't be started: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Makes an image of `size` (as `truncate` takes it), filled from a directory where one is given.
pub fn make(image: &Path, size: &str, options: &[&str], source: Option<&Path>) {
    let image = image.to_str().expect("a path in UTF-8");
    let source = source.map(|source| source.to_str().expect("a path in UTF-8"));
    let _ = std::fs::remove_file(image);
    run("truncate", &["-s", size, image]);
    let mut arguments = vec!["-q", "-F"];
    arguments.extend(options);
    if let Some(source) = source {
        arguments.extend(["-d", source]);
    }
    arguments.push(image);
    run("mke2fs", &arguments);
}

/// Writes with debugfs.
pub fn debugfs(image: &Path, commands: &[&str]) {
    let image = image.to_str().expect("a path in UTF-8");
    for command in commands {
        run("debugfs", &["-w", "-R", command, image]);
    }
}

/// The numbers in a text, those in hexadecimal included.
pub fn numbers(text: &str) -> Vec<u64> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let number = |word: &str| match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    };
    words.filter_map(number).collect()
}

/// A kernel's mount of an image, gone when dropped.
pub struct Mount {
    pub path: PathBuf,
}

impl Mount {
    /// Mounts through a loop device that goes when the mount does; the error says why it can't.
    pub fn new(image: &Path, path: &Path, options: &str) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting needs root".to_owned());
        }
        std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
        let output = Command::new("mount").arg("-o").arg(format!("{options},loop")).arg(image).arg(path).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(Self { path: path.to_owned() });
        }
        Err(format!("mount: {}", String::from_utf8_lossy(&output.stderr).replace('\n', " ")))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that another test's thread is starting may hold a file of this mount until it runs its program.
        for _ in 0..50 {
            let output = Command::new("umount").arg(&self.path).output();
            if output.is_ok_and(|output| output.status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        eprintln!("{} is still mounted", self.path.display());
    }
}
