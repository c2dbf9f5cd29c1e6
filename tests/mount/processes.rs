//! A mount is two processes: one serves and has given up all else, one keeps the mount and takes it away. Whichever ends,
//! whoever ends it, nothing stays behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli_support::mounting::{can_lock_down, is_mounted, logged, processes, sandbox, wait_until};
use crate::cli_support::{Ran, Sandbox, is_root, noise, not_run};
use icecore::Vault;
use icecore::format::key_slot::Role;
use icecore::seal::{Credential, PasswordCost};
use icecore::vault::OpenOptions;
use rustix::process::{Pid, Signal, kill_process};

/// Whether a process has ended, and closed all that it had open.
fn is_gone(pid: Pid) -> bool {
    let process = format!("/proc/{}", pid.as_raw_nonzero());
    let Ok(status) = fs::read_to_string(format!("{process}/status")) else { return true };
    // The last of its threads closes what all had open.
    let threads = fs::read_dir(format!("{process}/task")).map_or(0, Iterator::count);
    status.contains("State:\tZ") && threads <= 1
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
        shell
            .env("ICECORE_VAULT", "vault")
            .env("ICECORE_PASSWORD_FILE", "password")
            .env("TMPDIR", sandbox.path("."))
            .env("XDG_STATE_HOME", "/dev/null");
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
    // CAP_DAC_READ_SEARCH alone: the vault's files may be anybody's.
    for (set, left) in [("CapInh:", 0), ("CapPrm:", 4), ("CapEff:", 4), ("CapBnd:", 4), ("CapAmb:", 0)] {
        assert_eq!(of(set), format!("{left:016x}"), "{set}");
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

/// Opens /dev/fuse to all where it is not, in a name space of its own, and runs a script there in the sandbox.
fn in_own_name_space(sandbox: &Sandbox, script: &str) -> Ran {
    fs::copy(env!("CARGO_BIN_EXE_icecore"), sandbox.path("icecore")).expect("a copy");
    let open = "mknod fuse c 10 229 && chmod 666 fuse && mount --bind fuse /dev/fuse";
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-euc", &format!("{open}\n{script}")])
        .current_dir(sandbox.path("."))
        .envs([
            ("ICECORE_VAULT", "vault"),
            ("ICECORE_PASSWORD_FILE", "password"),
            ("TMPDIR", "."),
            ("XDG_STATE_HOME", "/dev/null"),
        ])
        .stdin(Stdio::null())
        .output();
    Ran::of(ran.expect("runs"))
}

/// What a script that runs as somebody else takes.
fn can_be_others(test: &str) -> bool {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let can = is_root() && ["setpriv", "unshare", "fusermount3", "pkill", "script"].into_iter().all(has);
    if !can {
        not_run(test, "root, setpriv, unshare, fusermount3, pkill or script is missing");
    }
    can
}

#[test]
fn an_ordinary_users_mount_is_locked_down_too() {
    let test = "an_ordinary_users_mount_is_locked_down_too";
    let Some(sandbox) = sandbox(test) else { return };
    if !can_be_others(test) || !can_lock_down(test, &sandbox) {
        return;
    }
    let script = "chown -R 65534:65534 .
        exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -euc '
            ./icecore mount points --sandbox require --log log
            cmp points/web01/latest/disks/os.raw os.raw
            ./icecore umount points
            ./icecore mount points --sandbox require --log log
            test -e points/web01
            pkill -TERM -u 65534 -f \"^./icecore mount points --sandbox\"
            for n in $(seq 100); do test -e points/web01 || break; sleep 0.1; done
            ! test -e points/web01
            ls points'";
    let ran = in_own_name_space(&sandbox, script);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", String::from_utf8_lossy(&ran.stdout));
    assert_eq!(logged(&sandbox), "");
}

#[test]
fn a_mount_in_the_foreground_of_another_users_terminal() {
    let test = "a_mount_in_the_foreground_of_another_users_terminal";
    let Some(sandbox) = sandbox(test) else { return };
    if !can_be_others(test) {
        return;
    }
    // As after `su`: the terminal stays with whom it was.
    let script = "chown -R 65534:65534 .
        user='setpriv --reuid=65534 --regid=65534 --clear-groups'
        script -qec \"$user ./icecore mount points --foreground\" said > /dev/null &
        for n in $(seq 100); do ! $user test -e points/web01 || break; sleep 0.1; done
        $user cmp points/web01/latest/disks/os.raw os.raw || { cat said >&2; exit 9; }
        $user ./icecore umount points
        wait $!";
    let ran = in_own_name_space(&sandbox, script);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", String::from_utf8_lossy(&ran.stdout));
}

#[test]
fn root_reads_a_vault_of_others_and_where_its_links_lead() {
    let test = "root_reads_a_vault_of_others_and_where_its_links_lead";
    let Some(sandbox) = sandbox(test) else { return };
    if !is_root() {
        return not_run(test, "only root can give files to others");
    }
    // One entry of the catalog on another disk; all of it somebody else's, and in a directory that is closed to others.
    let home = sandbox.path("home");
    fs::create_dir(&home).expect("a directory");
    fs::rename(sandbox.path("vault"), home.join("vault")).expect("moved");
    let chain = fs::read_dir(home.join("vault/catalog")).expect("the catalog").next().expect("a chain").expect("entry");
    let entry = fs::read_dir(chain.path()).expect("a chain").next().expect("an entry").expect("entry").path();
    fs::create_dir(sandbox.path("elsewhere")).expect("a directory");
    fs::rename(&entry, sandbox.path("elsewhere/entry")).expect("moved");
    symlink(sandbox.path("elsewhere/entry").canonicalize().expect("path"), &entry).expect("a link");
    let nobody = Command::new("chown").args(["-R", "65534:65534"]).arg(&home).arg(sandbox.path("elsewhere")).status();
    assert!(nobody.expect("runs").success());
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("mode");
    fs::set_permissions(sandbox.path("elsewhere"), fs::Permissions::from_mode(0o700)).expect("mode");
    // What the index says is not needed to read.
    fs::remove_dir_all(home.join("vault/index")).expect("removed");
    fs::create_dir(home.join("vault/index")).expect("a directory");
    chown(home.join("vault/index"), Some(65534), Some(65534)).expect("chown");
    for mode in ["map", "pread"] {
        sandbox.ok(&["--vault", "home/vault", "mount", "points", "--log", "log", "--read-mode", mode]);
        let read = fs::read(sandbox.path("points/web01/latest/disks/os.raw"));
        sandbox.ok(&["umount", "points"]);
        assert!(read.expect("the disk") == noise(1, 300_000), "{mode}");
    }
    assert_eq!(logged(&sandbox), "");
}

#[test]
fn limits_of_the_system_make_a_mount_slower_or_are_told() {
    let test = "limits_of_the_system_make_a_mount_slower_or_are_told";
    let Some(sandbox) = sandbox(test) else { return };
    let limited = || {
        let line = format!("ulimit -n 64 && exec {} mount points --threads 200", env!("CARGO_BIN_EXE_icecore"));
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(sandbox.path("."));
        shell.envs([
            ("ICECORE_VAULT", "vault"),
            ("ICECORE_PASSWORD_FILE", "password"),
            ("XDG_STATE_HOME", "/dev/null"),
        ]);
        Ran::of(shell.output().expect("runs"))
    };
    // Fewer descriptors than threads.
    let ran = limited();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(fs::read(sandbox.path("points/web01/latest/disks/os.raw")).expect("the disk") == noise(1, 300_000));
    sandbox.ok(&["umount", "points"]);
    // Fewer threads: of a user (lp) that nobody else is here, root having as many as it likes.
    if !can_be_others(test) {
        return;
    }
    let script = "chown -R 7:7 .
        exec setpriv --reuid=7 --regid=7 --clear-groups bash -c '
            ulimit -u 20 && exec ./icecore mount points --threads 200'";
    let line = in_own_name_space(&sandbox, script).failed(1, &["mount"]);
    assert!(line.contains("the session with the kernel did not start"), "{line}");
    assert!(line.contains("nothing was mounted"), "{line}");
    assert!(!is_mounted(&sandbox.path("points").canonicalize().expect("path")));
}

/// A key whose password takes seconds to try.
fn slow_password(sandbox: &Sandbox) {
    let vault = Vault::open(&sandbox.path("vault"), &Credential::password(*b"correct horse"), &OpenOptions::default());
    let cost = PasswordCost { passes: 32, memory_kib: 64 << 10, lanes: 1 };
    vault.expect("open").add_key(Role::Restore, &Credential::password(*b"slow"), cost).expect("a key");
    sandbox.write("slow", b"slow\n");
}

#[test]
fn a_signal_while_a_mount_starts_leaves_nothing_behind() {
    let Some(sandbox) = sandbox("a_signal_while_a_mount_starts_leaves_nothing_behind") else { return };
    slow_password(&sandbox);
    fs::create_dir(sandbox.path("tmp")).expect("a directory");
    let scratch = || fs::read_dir(sandbox.path("tmp")).expect("list").count();
    for (arguments, signal) in [
        (&["mount", "points", "--foreground"][..], Signal::TERM),
        (&["mount", "points", "--foreground"], Signal::INT),
        (&["mount", "points"], Signal::HUP),
    ] {
        let mut command = sandbox.command(arguments);
        command.env("ICECORE_PASSWORD_FILE", "slow").env("TMPDIR", sandbox.path("tmp"));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
        wait_until("it starts", || scratch() == 1);
        // The one that made the directory keeps the mount: in the background a child of the one that was called.
        let called = child.id();
        let of_children = || fs::read_to_string(format!("/proc/{called}/task/{called}/children")).expect("children");
        wait_until("it has children", || !of_children().trim().is_empty());
        let keeper = if arguments.len() == 3 { called.to_string() } else { of_children().trim().to_owned() };
        let signals = || {
            let status = fs::read_to_string(format!("/proc/{keeper}/status")).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap_or("0").to_owned();
            u64::from_str_radix(&caught, 16).expect("a set")
        };
        // The last that is asked for.
        wait_until("it handles signals", || signals() & 1 << (Signal::TERM.as_raw() - 1) != 0);
        kill_process(Pid::from_raw(keeper.parse().expect("a number")).expect("a process"), signal).expect("kill");
        let ran = Ran::of(child.wait_with_output().expect("ends"));
        assert_eq!((ran.code, ran.stderr.as_str()), (130, ""), "{arguments:?} {signal:?}");
        assert_eq!(scratch(), 0, "{arguments:?} {signal:?}");
    }
}

#[test]
fn who_serves_without_a_keeper_ends_by_a_signal() {
    let test = "who_serves_without_a_keeper_ends_by_a_signal";
    let Some(sandbox) = sandbox(test) else { return };
    if !is_root() {
        return not_run(test, "which process serves, only root can see");
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        sandbox.ok(&["mount", "points"]);
        let (keeper, server) = processes(&sandbox);
        kill_process(keeper, Signal::KILL).expect("kill");
        wait_until("the keeper ends", || is_gone(keeper));
        kill_process(server, signal).expect("kill");
        wait_until("the server ends", || is_gone(server));
        sandbox.ok(&["umount", "points"]);
    }
}

#[test]
fn a_server_that_answers_no_more_cannot_hold_its_mount() {
    let test = "a_server_that_answers_no_more_cannot_hold_its_mount";
    let Some(sandbox) = sandbox(test) else { return };
    if !is_root() {
        return not_run(test, "which process serves, only root can see");
    }
    let points = sandbox.path("points").canonicalize().expect("path");
    sandbox.ok(&["mount", "points"]);
    let (keeper, server) = processes(&sandbox);
    kill_process(server, Signal::STOP).expect("kill");
    // Somebody asks, and waits.
    let question = points.join("web01/latest/disks/os.raw");
    let asks = std::thread::spawn(move || fs::read(question));
    wait_until("the question is asked", || {
        let tasks = fs::read_dir("/proc/self/task").expect("threads").flatten();
        tasks
            .filter_map(|task| fs::read_to_string(task.path().join("wchan")).ok())
            .any(|wchan| wchan.contains("wait_answer"))
    });
    kill_process(keeper, Signal::TERM).expect("kill");
    wait_until("both end", || is_gone(keeper) && is_gone(server));
    assert!(!is_mounted(&points));
    assert!(asks.join().expect("a thread").is_err());
}

#[test]
fn a_vault_that_is_replaced_below_its_mount_is_told_so() {
    let test = "a_vault_that_is_replaced_below_its_mount_is_told_so";
    let Some(sandbox) = sandbox(test) else { return };
    if !can_lock_down(test, &sandbox) {
        return;
    }
    sandbox.ok(&["mount", "points", "--log", "log", "--read-mode", "pread"]);
    fs::rename(sandbox.path("vault"), sandbox.path("old")).expect("moved");
    let copied = Command::new("cp").arg("-a").arg(sandbox.path("old")).arg(sandbox.path("vault")).status();
    assert!(copied.expect("runs").success());
    let read = fs::read(sandbox.path("points/web01/latest/disks/os.raw"));
    assert_eq!(read.err().and_then(|error| error.raw_os_error()), Some(libc::EIO));
    assert!(logged(&sandbox).contains("then unmount and mount again"), "{}", logged(&sandbox));
    // As it says.
    sandbox.ok(&["umount", "points"]);
    sandbox.ok(&["mount", "points"]);
    assert!(fs::read(sandbox.path("points/web01/latest/disks/os.raw")).expect("the disk") == noise(1, 300_000));
    sandbox.ok(&["umount", "points"]);
}
