//! `mount` returns when the mount is up, ends cleanly whoever ends it, and refuses places that would hide the vault.

mod cli_support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cli_support::{Ran, Sandbox, is_root, noise, not_run};
use rustix::process::{Pid, Signal, kill_process};

fn sandbox(test: &str) -> Option<Sandbox> {
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

fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    mounts.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a mount told, but for what this kernel can't give up.
fn told(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.contains("is not locked down")).collect()
}

fn logged(sandbox: &Sandbox) -> String {
    told(&fs::read_to_string(sandbox.path("log")).expect("log")).concat()
}

/// Whether this kernel can do all of it; says so where it can't.
fn can_lock_down(test: &str, sandbox: &Sandbox) -> bool {
    let ran = sandbox.run(&["mount", "points", "--sandbox", "require"]);
    if ran.code == 0 {
        sandbox.ok(&["umount", "points"]);
        return true;
    }
    let line = ran.failed(1, &["mount"]);
    assert!(line.contains("is not locked down") && line.contains("nothing was mounted"), "{line}");
    not_run(test, &line);
    false
}

#[test]
fn a_mount_in_the_background() {
    let Some(sandbox) = sandbox("a_mount_in_the_background") else { return };
    let points = sandbox.path("points").canonicalize().expect("path");
    // Its output is read to the end: a daemon that kept it open would never let that happen.
    sandbox.ok(&["mount", "points", "--log", "log"]);
    assert!(is_mounted(&points));
    let disk = points.join("web01/2026-11-20T02-00-00Z/disks/os.raw");
    assert!(fs::read(&disk).expect("the disk") == noise(1, 300_000));
    // New points appear.
    sandbox.ok(&["backup", "db", "--disk", "os=os.raw"]);
    wait_until("the new machine appears", || points.join("db/latest/disks/os.raw").exists());
    // In use it stays; then it goes.
    let file = fs::File::open(&disk).expect("open");
    assert!(sandbox.fails(11, &["umount", "points"]).contains("in use"));
    drop(file);
    sandbox.ok(&["umount", "points"]);
    assert!(!is_mounted(&points));
    assert!(sandbox.fails(1, &["umount", "points"]).contains("no mount of icecore"));
    assert_eq!(logged(&sandbox), "");
}

#[test]
fn a_mount_in_the_foreground_ends_cleanly_whoever_ends_it() {
    let Some(sandbox) = sandbox("a_mount_in_the_foreground_ends_cleanly_whoever_ends_it") else { return };
    let points = sandbox.path("points").canonicalize().expect("path");
    for end in ["INT", "TERM", "umount", "fusermount3"] {
        if end == "fusermount3" && Command::new("fusermount3").arg("-V").output().is_err() {
            not_run("a_mount_in_the_foreground_ends_cleanly_whoever_ends_it", "fusermount3 is missing");
            continue;
        }
        let mut command = sandbox.command(&["mount", "points", "--foreground"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
        wait_until("it is mounted", || is_mounted(&points));
        assert!(points.join("web01").exists());
        let pid = Pid::from_child(&child);
        match end {
            "INT" => kill_process(pid, Signal::INT).expect("kill"),
            "TERM" => kill_process(pid, Signal::TERM).expect("kill"),
            "umount" => assert!(Command::new("umount").arg(&points).status().expect("runs").success()),
            _ => assert!(Command::new("fusermount3").arg("-u").arg(&points).status().expect("runs").success()),
        }
        let ran = Ran::of(child.wait_with_output().expect("ends"));
        assert_eq!((ran.code, told(&ran.stderr).as_slice()), (0, &[][..]), "{end}");
        assert!(!is_mounted(&points), "{end}");
    }
}

/// The processes of a mount: the one that keeps it, and the one that serves it, which has another for its parent.
fn processes(sandbox: &Sandbox) -> (Pid, Pid) {
    let of = |pid: &str, field: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.trim().to_owned()
    };
    let vault = sandbox.path("vault").canonicalize().expect("path");
    let all: Vec<String> = fs::read_dir("/proc")
        .expect("processes")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    // Who has the index of this vault open.
    let serves = |pid: &&String| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        of(pid, "Name:") == "icecore"
            && open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|path| path.starts_with(&vault))
    };
    let server = all.iter().find(serves).expect("a process that serves");
    let pid = |text: &str| Pid::from_raw(text.parse().expect("a number")).expect("a process");
    (pid(&of(server, "PPid:")), pid(server))
}

#[test]
fn what_serves_a_mount_has_given_up_all_else() {
    let test = "what_serves_a_mount_has_given_up_all_else";
    let Some(sandbox) = sandbox(test) else { return };
    if !is_root() {
        return not_run(test, "what a process that nobody may look into has open, only root can see");
    }
    if !can_lock_down(test, &sandbox) {
        return;
    }
    sandbox.write("leaked", b"letter");
    let points = sandbox.path("points").canonicalize().expect("path");
    let serve = |arguments: &[&str]| {
        // A descriptor that the shell leaves open is nobody's business.
        let line = format!("exec 9<leaked && exec {} \"$@\"", env!("CARGO_BIN_EXE_icecore"));
        let all = [&["mount", "points", "--log", "log"][..], arguments].concat();
        let mut shell = Command::new("sh");
        shell.args(["-c", &line, "sh"]).args(&all).current_dir(sandbox.path("."));
        shell.env("ICECORE_VAULT", "vault").env("ICECORE_PASSWORD_FILE", "password").env("TMPDIR", sandbox.path("."));
        assert!(shell.stdout(Stdio::null()).status().expect("runs").success());
        let (_, server) = processes(&sandbox);
        let server = server.as_raw_nonzero();
        let open = fs::read_dir(format!("/proc/{server}/fd")).expect("descriptors");
        let open: Vec<String> =
            open.filter_map(|fd| Some(fs::read_link(fd.ok()?.path()).ok()?.to_string_lossy().into_owned())).collect();
        let status = fs::read_to_string(format!("/proc/{server}/status")).expect("status");
        let limits = fs::read_to_string(format!("/proc/{server}/limits")).expect("limits");
        assert!(fs::read_dir(points.join("web01/latest/disks")).expect("the mount").count() == 1);
        sandbox.ok(&["umount", "points"]);
        wait_until("it ends", || !Path::new(&format!("/proc/{server}/status")).exists());
        (status, limits, open)
    };
    let (status, limits, open) = serve(&["--sandbox", "require"]);
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().to_owned()
    };
    let of = |name| field(&status, name);
    assert_eq!((of("NoNewPrivs:"), of("Seccomp:")), ("1".to_owned(), "2".to_owned()), "{status}");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(of(set), "0000000000000000", "{set}");
    }
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let root = sandbox.path(".").canonicalize().expect("path").to_string_lossy().into_owned();
    for path in &open {
        let is_needed = ["/dev/null", "/dev/fuse", "socket:"].iter().any(|known| path.starts_with(known))
            || path.strip_prefix(&root).is_some_and(|path| path.starts_with("/vault/") || path == "/log");
        assert!(is_needed, "{path} is open: {open:?}");
    }
    assert_eq!(logged(&sandbox), "");
    // Others' files may be in a vault where others may write.
    fs::set_permissions(sandbox.path("vault/segments"), fs::Permissions::from_mode(0o777)).expect("mode");
    let (status, _, _) = serve(&[]);
    assert_eq!(field(&status, "CapEff:"), "0000000000000004", "CAP_DAC_READ_SEARCH alone");
    let (status, _, _) = serve(&["--sandbox", "off"]);
    assert_eq!((field(&status, "NoNewPrivs:"), field(&status, "Seccomp:")), ("0".to_owned(), "0".to_owned()));
    let left: Vec<_> = fs::read_dir(sandbox.path(".")).expect("list").flatten().collect();
    assert!(!left.iter().any(|entry| entry.file_name().to_string_lossy().starts_with("icecore-")), "{left:?}");
}

#[test]
fn whichever_process_of_a_mount_dies_no_dead_mount_stays() {
    let test = "whichever_process_of_a_mount_dies_no_dead_mount_stays";
    let Some(sandbox) = sandbox(test) else { return };
    if !is_root() {
        return not_run(test, "which process serves, only root can see");
    }
    let points = sandbox.path("points").canonicalize().expect("path");
    let is_gone = |pid: Pid| !Path::new(&format!("/proc/{}/fd/0", pid.as_raw_nonzero())).exists();
    for (serving, signal) in [(true, Signal::TERM), (true, Signal::KILL), (false, Signal::TERM), (false, Signal::HUP)] {
        sandbox.ok(&["mount", "points", "--log", "log"]);
        let (keeper, server) = processes(&sandbox);
        kill_process(if serving { server } else { keeper }, signal).expect("kill");
        wait_until("both end", || is_gone(keeper) && is_gone(server));
        assert!(!is_mounted(&points), "{serving} {signal:?}");
    }
    assert!(fs::read_to_string(sandbox.path("log")).expect("log").contains("ended by signal 9; it is unmounted"));
    // Who loses its keeper serves on, and can still be unmounted.
    sandbox.ok(&["mount", "points"]);
    let (keeper, server) = processes(&sandbox);
    kill_process(keeper, Signal::KILL).expect("kill");
    wait_until("the keeper ends", || is_gone(keeper));
    assert!(points.join("web01").exists());
    sandbox.ok(&["umount", "points"]);
    wait_until("the server ends", || is_gone(server));
    // A file in use stays readable when the mount is taken out of sight.
    sandbox.ok(&["mount", "points"]);
    let (keeper, server) = processes(&sandbox);
    let mut file = fs::File::open(points.join("web01/latest/disks/os.raw")).expect("open");
    sandbox.ok(&["umount", "--lazy", "points"]);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes).expect("read");
    assert!(bytes == noise(1, 300_000) && !is_gone(server));
    drop(file);
    wait_until("both end", || is_gone(keeper) && is_gone(server));
}

#[test]
fn a_locked_mount_goes_on_reading_what_the_vault_becomes() {
    let Some(sandbox) = sandbox("a_locked_mount_goes_on_reading_what_the_vault_becomes") else { return };
    for mode in ["map", "pread"] {
        sandbox.ok(&["mount", "points", "--log", "log", "--read-mode", mode]);
        let read = |machine: &str| fs::read(sandbox.path(&format!("points/{machine}/latest/disks/os.raw")));
        assert!(read("web01").expect("the disk") == noise(1, 300_000));
        // New segments, a new machine; then no index at all, and after that one that another made.
        let machine = format!("{mode}-new");
        sandbox.write("new.raw", &noise(mode.len() as u64, 3 << 20));
        sandbox.ok(&["backup", &machine, "--disk", "os=new.raw"]);
        for run in fs::read_dir(sandbox.path("vault/index")).expect("the index") {
            fs::remove_file(run.expect("entry").path()).expect("removed");
        }
        wait_until("the new machine appears", || sandbox.path("points").join(&machine).exists());
        assert!(read(&machine).expect("the disk") == noise(mode.len() as u64, 3 << 20));
        sandbox.ok(&["umount", "points"]);
    }
    assert_eq!(logged(&sandbox), "");
}

/// Opens /dev/fuse to all where it is not, in this name space only, and does it all as the user nobody.
const AS_NOBODY: &str = "mknod fuse c 10 229 && chmod 666 fuse && mount --bind fuse /dev/fuse
    exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -euc '
        ./icecore mount points --sandbox require --log log
        cmp points/web01/latest/disks/os.raw os.raw
        ./icecore umount points
        ./icecore mount points --sandbox require --log log
        test -e points/web01
        pkill -TERM -u 65534 -f \"^./icecore mount points\"
        for n in $(seq 100); do test -e points/web01 || break; sleep 0.1; done
        ! test -e points/web01
        ls points'";

#[test]
fn an_ordinary_users_mount_is_locked_down_too() {
    let test = "an_ordinary_users_mount_is_locked_down_too";
    let Some(sandbox) = sandbox(test) else { return };
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !is_root() || !["setpriv", "unshare", "fusermount3", "pkill"].into_iter().all(has) {
        return not_run(test, "root, setpriv, unshare, fusermount3 or pkill is missing");
    }
    if !can_lock_down(test, &sandbox) {
        return;
    }
    fs::copy(env!("CARGO_BIN_EXE_icecore"), sandbox.path("icecore")).expect("a copy");
    let chown = Command::new("chown").args(["-R", "65534:65534"]).arg(sandbox.path(".")).status();
    assert!(chown.expect("runs").success());
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", AS_NOBODY])
        .current_dir(sandbox.path("."))
        .envs([("ICECORE_VAULT", "vault"), ("ICECORE_PASSWORD_FILE", "password"), ("TMPDIR", ".")])
        .output()
        .expect("runs");
    let ran = Ran::of(ran);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", String::from_utf8_lossy(&ran.stdout));
    assert_eq!(logged(&sandbox), "");
}

#[test]
fn mount_points_that_are_refused() {
    let Some(sandbox) = sandbox("mount_points_that_are_refused") else { return };
    fs::create_dir(sandbox.path("vault/inside")).expect("a directory");
    std::os::unix::fs::symlink("vault/inside", sandbox.path("link")).expect("a link");
    fs::create_dir(sandbox.path("full")).expect("a directory");
    sandbox.write("full/letter", b"dear");
    for (mount_point, word) in [
        ("vault/inside", "inside the vault"),
        ("link", "inside the vault"),
        ("vault", "is the vault itself"),
        (".", "holds the vault"),
        ("full", "is not empty"),
        ("os.raw", "is not a directory"),
        ("nope", "does not exist"),
    ] {
        let line = sandbox.fails(1, &["mount", mount_point]);
        assert!(line.contains(word) && line.contains("nothing was mounted"), "{word} in {line}");
    }
    // What only the child can find out has its own code too.
    sandbox.write("wrong", b"wrong");
    sandbox.fails(12, &["mount", "points", "--password-file", "wrong"]);
}

#[test]
fn a_disk_that_cannot_be_read_in_the_middle_makes_no_point_unless_allowed() {
    let test = "a_disk_that_cannot_be_read_in_the_middle_makes_no_point_unless_allowed";
    let Some(broken) = sandbox(test) else { return };
    // A disk with a medium error: one in a mounted vault, of which a byte was flipped.
    let segments = fs::read_dir(broken.path("vault/segments")).expect("segments");
    let segment =
        segments.map(|entry| entry.expect("entry").path()).max_by_key(|path| path.metadata().expect("size").len());
    let segment = segment.expect("a segment");
    let mut bytes = fs::read(&segment).expect("segment");
    bytes[150_000] ^= 1;
    fs::write(&segment, bytes).expect("damage");
    broken.ok(&["mount", "points", "--log", "log"]);
    let disk = format!("os={}", broken.path("points/web01/latest/disks/os.raw").display());

    let sandbox = Sandbox::new();
    let line = sandbox.fails(1, &["backup", "m", "--disk", &disk]);
    let partial = sandbox.run(&["backup", "m", "--disk", &disk, "--allow-incomplete"]);
    let log = fs::read_to_string(broken.path("log")).expect("log");
    broken.ok(&["umount", "points"]);
    assert!(line.contains("cannot read disk \"os\" at byte") && line.contains("--allow-incomplete"), "{line}");
    assert!(log.contains("damaged"), "the daemon tells why: {log:?}");
    assert_eq!(partial.code, 3, "{}", partial.stderr);
    assert!(partial.stderr.contains("could not be read and are missing"), "{}", partial.stderr);
    assert_eq!(sandbox.points(), 1);
    assert!(sandbox.ok(&["points"]).text().contains("incomplete"));
    // What is missing is never read as zeros unasked.
    let line = sandbox.fails(1, &["restore", "m/latest", "--disk", "os", "--to", "out"]);
    assert!(line.contains("unreadable when") && line.contains("--allow-incomplete"), "{line}");
    assert_eq!(sandbox.run(&["restore", "m/latest", "--disk", "os", "--to", "out", "--allow-incomplete"]).code, 3);
    assert_eq!(sandbox.path("out").metadata().expect("restored").len(), 300_000);
}
