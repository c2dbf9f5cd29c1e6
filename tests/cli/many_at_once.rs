//! Section 5, "Many at once": two backups, a mount, a verify and a restore in processes of their own all end well and
//! right, and who opens the vault next sees what each of them published.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::cli_support::{Ran, Sandbox, noise, not_run};

const MACHINES: [&str; 2] = ["web01", "db"];
const ROUNDS: u64 = 3;

/// A machine's disk in a round: most of it is new, some what it was, some what the other machine has too.
fn disk(machine: usize, round: u64) -> Vec<u8> {
    let own = 10 + machine as u64;
    [noise(1, 1 << 20), noise(own, 1 << 20), noise(own * 100 + round, 3 << 20)].concat()
}

fn begin(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    sandbox.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
}

/// Ends well, and without a word of complaint.
fn ends(child: Child, what: &str) -> Ran {
    let ran = Ran::of(child.wait_with_output().expect("its end"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{what}");
    ran
}

fn summary(ran: &Ran) -> serde_json::Value {
    ran.json_lines().pop().expect("a summary")
}

/// `icecore mount` in the foreground. Unmounted when dropped.
struct Mount<'a> {
    sandbox: &'a Sandbox,
    child: Option<Child>,
}

impl<'a> Mount<'a> {
    fn start(sandbox: &'a Sandbox, test: &str) -> Option<Self> {
        if fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_err() {
            not_run(test, "/dev/fuse cannot be opened; the rest ran");
            return None;
        }
        fs::create_dir(sandbox.path("points")).expect("a directory");
        let mount = Self { sandbox, child: Some(begin(sandbox, &["mount", "points", "--foreground"])) };
        mount.wait_for("web01");
        Some(mount)
    }

    /// The path, once it is there.
    fn wait_for(&self, path: &str) -> PathBuf {
        let path = self.sandbox.path("points").join(path);
        let began = Instant::now();
        while !path.exists() {
            assert!(began.elapsed() < Duration::from_secs(30), "{} does not appear", path.display());
            std::thread::sleep(Duration::from_millis(10));
        }
        path
    }

    fn end(mut self) {
        self.sandbox.ok(&["umount", "points"]);
        let child = self.child.take().expect("a mount");
        let ran = Ran::of(child.wait_with_output().expect("its end"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "the mount");
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.sandbox.run(&["umount", "--lazy", "points"]);
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn each_ends_well_and_sees_what_the_others_published() {
    let sandbox = Sandbox::new();
    for (number, machine) in MACHINES.into_iter().enumerate() {
        let file = sandbox.write(&format!("{machine}.raw"), &disk(number, 0));
        sandbox.ok(&["backup", machine, "--disk", &format!("os={}", file.display())]);
    }
    let mount = Mount::start(&sandbox, "each_ends_well_and_sees_what_the_others_published, the mount");
    for round in 1..=ROUNDS {
        let before = MACHINES.map(|machine| sandbox.latest(machine));
        for (number, machine) in MACHINES.into_iter().enumerate() {
            sandbox.write(&format!("{machine}.raw"), &disk(number, round));
        }
        let backups = [0, 1].map(|number| {
            let disk = format!("os={}.raw", MACHINES[number]);
            let mut child = begin(&sandbox, &["backup", MACHINES[number], "--disk", &disk, "--json"]);
            // All that follows meets one who writes.
            while fs::read_dir(sandbox.path("vault/tmp")).expect("tmp").count() == 0
                && child.try_wait().expect("a child").is_none()
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            child
        });
        let verify = begin(&sandbox, &["verify", "--json"]);
        let restores = [0, 1].map(|number| {
            let (point, to) = (format!("{}/{}", MACHINES[number], before[number]), format!("restored-{number}"));
            begin(&sandbox, &["restore", &point, "--disk", "os", "--to", &to, "--force", "--quiet"])
        });
        if let Some(mount) = &mount {
            // What was there before is read right while others write.
            for (number, machine) in MACHINES.into_iter().enumerate() {
                let old = mount.wait_for(&format!("{machine}/{}/disks/os.raw", before[number]));
                assert!(fs::read(&old).expect("the mount reads") == disk(number, round - 1), "{}", old.display());
            }
        }
        let made = backups.map(|child| summary(&ends(child, "backup"))["point"].as_str().expect("its name").to_owned());
        assert_eq!(summary(&ends(verify, "verify"))["clean"], true);
        for (number, child) in restores.into_iter().enumerate() {
            ends(child, "restore");
            let restored = fs::read(sandbox.path(&format!("restored-{number}"))).expect("restored");
            assert!(restored == disk(number, round - 1), "what is restored is of the point that was asked for");
        }
        for (number, machine) in MACHINES.into_iter().enumerate() {
            assert_eq!(sandbox.latest(machine), made[number], "the next to open sees it");
            let path = format!("{machine}/{}/disks/os.raw", made[number]);
            assert!(sandbox.ok(&["cat", &path]).stdout == disk(number, round), "{path}");
            // And knows its chunks.
            let copy = sandbox.ok(&["backup", "copy", "--disk", &format!("os={machine}.raw"), "--json"]);
            assert_eq!(summary(&copy)["new_bytes"], 0, "what {machine} stored is known");
            if let Some(mount) = &mount {
                let new = mount.wait_for(&path);
                assert!(fs::read(&new).expect("the mount reads") == disk(number, round), "{}", new.display());
            }
        }
    }
    if let Some(mount) = mount {
        mount.end();
    }
    assert_eq!(sandbox.points(), MACHINES.len() * (1 + 2 * ROUNDS as usize));
    let last = sandbox.ok(&["verify", "--json"]);
    assert_eq!(summary(&last)["clean"], true);
    assert_eq!(fs::read_dir(sandbox.path("vault/tmp")).expect("tmp").count(), 0, "nothing is left behind");
}

#[test]
fn backups_go_on_while_keys_are_rotated() {
    let sandbox = Sandbox::new();
    sandbox.write("key", &noise(7, 64));
    sandbox.ok(&["key", "add", "--role", "backup", "--new-key-file", "key"]);
    for machine in 0..2 {
        sandbox.write(&format!("{machine}.raw"), &disk(machine, 0));
    }
    let backups = 6;
    std::thread::scope(|scope| {
        for (number, machine) in MACHINES.into_iter().enumerate() {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for _ in 0..backups {
                    let disk = format!("os={number}.raw");
                    let arguments = ["--key-file", "key", "backup", machine, "--disk", &disk];
                    let mut command = sandbox.command(&arguments);
                    let ran = Ran::of(command.env_remove("ICECORE_PASSWORD_FILE").output().expect("the binary runs"));
                    assert_eq!(ran.code, 0, "{}", ran.stderr);
                }
            });
        }
        for _ in 0..3 {
            sandbox.ok(&["key", "rotate"]);
        }
    });
    assert_eq!(sandbox.points(), 2 * backups);
    sandbox.ok(&["verify"]);
}
