//! Mounts of the binary, and the two processes that each of them is.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::{Sandbox, noise, not_run};

/// A vault with one point, and a directory to mount at; none where nothing can be mounted.
pub fn sandbox(test: &str) -> Option<Sandbox> {
    if fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_err() {
        not_run(test, "/dev/fuse cannot be opened");
        return None;
    }
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", &noise(1, 300_000));
    sandbox.ok(&["backup", "web01", "--disk", "os=os.raw", "--time", "2026-11-20 02:00"]);
    fs::create_dir(sandbox.path("points")).expect("a directory");
    Some(sandbox)
}

pub fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    mounts.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a mount told, but for what this kernel can't give up.
pub fn told(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.contains("is not locked down")).collect()
}

pub fn logged(sandbox: &Sandbox) -> String {
    told(&fs::read_to_string(sandbox.path("log")).expect("log")).concat()
}

/// Whether this kernel can do all of it; says so where it can't.
pub fn can_lock_down(test: &str, sandbox: &Sandbox) -> bool {
    let ran = sandbox.run(&["mount", "points", "--sandbox", "require"]);
    if ran.code == 0 {
        sandbox.ok(&["umount", "points"]);
        wait_until("it ends", || server(sandbox).is_none());
        return true;
    }
    let line = ran.failed(1, &["mount"]);
    assert!(line.contains("is not locked down") && line.contains("nothing was mounted"), "{line}");
    not_run(test, &line);
    false
}

/// A field of a process's status.
fn status(pid: &str, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default().trim().to_owned()
}

/// The process that has this vault open, as far as this user can see.
fn server(sandbox: &Sandbox) -> Option<String> {
    let vault = sandbox.path("vault").canonicalize().expect("path");
    let all = fs::read_dir("/proc").expect("processes").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    all.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit())).find(|pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        status(pid, "Name:") == "icecore"
            && open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|path| path.starts_with(&vault))
    })
}

/// The processes of a mount: the one that keeps it, and the one that serves it, which has the other for its parent.
pub fn processes(sandbox: &Sandbox) -> (Pid, Pid) {
    let server = server(sandbox).expect("a process that serves");
    let pid = |text: &str| Pid::from_raw(text.parse().expect("a number")).expect("a process");
    (pid(&status(&server, "PPid:")), pid(&server))
}
