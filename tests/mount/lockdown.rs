//! THREATS.md, a guest's root: who takes the serving process over reads the vault and can do nothing else. By trying.
#![cfg(feature = "mount")]
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "each is a call that the kernel is to refuse, with arguments that do nothing"
)]

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use crate::common;
use icecore::lockdown::{self, Kept, Needs};
use icecore::media::{Media, ReadMode, TemporaryMedia};
use icecore_fuse::ReadOnlyTree;

/// Where the child finds its vault; set for the child only.
const PLACE: &str = "ICECORE_TEST_LOCKDOWN";

/// How a child ends whose kernel can't do it all.
const NOT_HERE: i32 = 77;

#[test]
fn who_takes_the_process_over_can_only_read_the_vault() {
    let name = "who_takes_the_process_over_can_only_read_the_vault";
    for mode in ["map", "pread"] {
        let folder = common::scratch();
        let vault = common::init(&folder.path().join("vault"), &common::small());
        common::backup_bytes(&vault, "web01", &[("os", &common::noise(1, 3 << 20))]).expect("backup");
        // A folder of segments on another disk.
        let vault = folder.path().join("vault");
        fs::rename(vault.join("segments"), folder.path().join("elsewhere")).expect("moved");
        std::os::unix::fs::symlink("../elsewhere", vault.join("segments")).expect("a link");
        fs::create_dir(folder.path().join("scratch")).expect("a directory");
        fs::write(folder.path().join("letter"), "dear").expect("a file");
        // One thread: what is given up is the calling thread's.
        let child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "lockdown::child", "--nocapture", "--test-threads=1"])
            .env(PLACE, folder.path())
            .env("TMPDIR", folder.path().join("scratch"))
            .env("ICECORE_TEST_MODE", mode)
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("a child");
        let said = String::from_utf8_lossy(&[child.stdout, child.stderr].concat()).into_owned();
        if child.status.code() == Some(NOT_HERE) {
            return common::not_run(name, said.lines().find(|line| line.contains("KEPT")).unwrap_or_default());
        }
        assert!(child.status.success() && said.contains("ALL WAS TRIED"), "{mode}: {}: {said}", child.status);
    }
}

/// Not a test by itself: the process that locks itself down.
#[test]
fn child() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let place = Path::new(&place);
    let vault_path = place.join("vault");
    let mode = if std::env::var("ICECORE_TEST_MODE").as_deref() == Ok("map") { ReadMode::Map } else { ReadMode::Pread };
    let vault = common::open_with(&vault_path, mode).expect("open");
    let mut log = OpenOptions::new().append(true).create(true).open(place.join("log")).expect("a log");
    let letter = File::open(place.join("letter")).expect("a letter");
    let parent = rustix::process::getppid().expect("a parent");

    let scratch = place.join("scratch");
    let kept = lockdown::lock_down(&Needs { vault: &vault_path, scratch: Some(&scratch), device: None });
    // The harness may have a thread of its own, which does nothing but wait.
    let kept: Vec<Kept> = kept.into_iter().filter(|kept| !matches!(kept, Kept::Threads(_))).collect();
    if !kept.is_empty() {
        println!("KEPT {kept:?}");
        std::process::exit(NOT_HERE);
    }

    what_serving_takes_still_works(&vault, &mut log);
    no_other_file(place, &vault_path, &letter);
    no_program_no_process(parent);
    no_socket(place);
    no_right();
    println!("ALL WAS TRIED");
}

fn what_serving_takes_still_works(vault: &icecore::Vault, log: &mut File) {
    // Segments that nobody opened so far; threads; the handler of SIGBUS; a panic that is caught.
    let bytes = common::tree_bytes(vault, "web01/latest/disks/os.raw").expect("the disk");
    assert!(bytes == common::noise(1, 3 << 20));
    assert_eq!(common::tree_names(vault, "").expect("names"), ["web01"]);
    let tree = vault.tree();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| tree.read_directory(tree.root(), 0, &mut |_| true).is_ok());
        assert!(reader.join().expect("a thread"));
    });
    assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err());
    writeln!(log, "told").expect("the log");
    // An index that is too large for memory.
    let temporary = TemporaryMedia::new(&["index"], ReadMode::Map).expect("a directory of its own");
    let object = temporary.create("index/one").expect("begun");
    object.write_at(0, b"kept").expect("written");
    assert!(object.publish().expect("published"));
    let mut read = [0; 4];
    temporary.open("index/one").expect("opened").read_exact_at(0, &mut read).expect("read");
    assert_eq!(&read, b"kept");
}

fn refused<T>(what: &str, tried: io::Result<T>) {
    let error = tried.err().unwrap_or_else(|| panic!("{what}: it went through"));
    let number = error.raw_os_error().unwrap_or(0);
    assert!(matches!(number, libc::EACCES | libc::EPERM | libc::ENOSYS | libc::EXDEV), "{what}: {error}");
}

/// What a call of the C library returned, as Rust has it.
fn called(result: impl Into<i64>) -> io::Result<()> {
    if result.into() == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL")
}

fn no_other_file(place: &Path, vault: &Path, letter: &File) {
    refused("reading a file beside the vault", fs::read(place.join("letter")));
    refused("through the vault", fs::read(vault.join("../letter")));
    refused("listing a directory beside the vault", fs::read_dir(place));
    for path in ["/etc/passwd", "/proc/self/mem", "/proc/self/environ", "/dev/null", "/"] {
        refused(path, File::open(path));
    }
    let behind = format!("/proc/self/fd/{}", letter.as_raw_fd());
    refused("an open file once more", File::open(&behind));
    refused("an open file for writing", OpenOptions::new().write(true).open(&behind));
    refused("writing the log anew", OpenOptions::new().write(true).open(place.join("log")));
    // Nothing in the vault can change.
    let mut entries = fs::read_dir(vault).expect("the vault").map(|entry| entry.expect("entry").path());
    let header = entries.find(|path| path.is_file()).expect("a file of the vault");
    refused("writing in the vault", OpenOptions::new().write(true).open(&header));
    refused("growing in the vault", OpenOptions::new().append(true).open(&header));
    refused("a new file in the vault", File::create(vault.join("new")));
    refused("a new directory in the vault", fs::create_dir(vault.join("new")));
    refused("removing from the vault", fs::remove_file(&header));
    refused("renaming in the vault", fs::rename(&header, vault.join("other")));
    refused("moving out of the vault", fs::rename(&header, place.join("scratch/other")));
    refused("another name in scratch", fs::hard_link(&header, place.join("scratch/other")));
    refused("a link in the vault", std::os::unix::fs::symlink("/", vault.join("link")));
    refused("cutting a file short", called(unsafe { libc::truncate(c(&header).as_ptr(), 0) }));
    refused("another mode", fs::set_permissions(&header, fs::Permissions::from_mode(0o777)));
    refused("another owner", std::os::unix::fs::chown(&header, Some(0), Some(0)));
    refused("an attribute", {
        let (name, value) = (c"user.x", b"y");
        called(unsafe { libc::setxattr(c(&header).as_ptr(), name.as_ptr(), value.as_ptr().cast(), 1, 0) })
    });
    refused(
        "a device in scratch",
        called(unsafe { libc::mknod(c(&place.join("scratch/d")).as_ptr(), libc::S_IFCHR, 0x103) }),
    );
    refused("by its handle", called(unsafe { libc::syscall(libc::SYS_open_by_handle_at, -100, 0, 0) }));
    refused("another root", called(unsafe { libc::chroot(c"/".as_ptr()) }));
    // What is open stays open, for what it was opened for.
    assert_eq!(io::read_to_string(letter).expect("open before"), "dear");
}

fn no_program_no_process(parent: rustix::process::Pid) {
    refused("a program", Command::new("/bin/true").status());
    refused(
        "a program of the vault's",
        called(unsafe { libc::execv(c"/bin/true".as_ptr(), [c"true".as_ptr(), std::ptr::null()].as_ptr()) }),
    );
    refused("a process", called(unsafe { libc::fork() }));
    refused("a program in memory", called(unsafe { libc::syscall(libc::SYS_memfd_create, c"x".as_ptr(), 0) }));
    let map = |protection| unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    let (read, execute) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
    refused("memory to execute", called(map(execute) as i64));
    let memory = map(read);
    called(memory as i64).expect("memory");
    refused("memory made executable", called(unsafe { libc::mprotect(memory, 4096, execute) }));
    let parent = parent.as_raw_nonzero().get();
    refused("a signal", called(unsafe { libc::kill(parent, 0) }));
    refused("a signal to a thread", called(unsafe { libc::syscall(libc::SYS_tgkill, parent, parent, 0) }));
    refused("tracing", called(unsafe { libc::ptrace(libc::PTRACE_ATTACH, parent, 0, 0) }));
    refused(
        "another's memory",
        called(unsafe { libc::process_vm_readv(parent, std::ptr::null(), 0, std::ptr::null(), 0, 0) } as i64),
    );
    refused("another's descriptors", called(unsafe { libc::syscall(libc::SYS_pidfd_open, parent, 0) }));
}

fn no_socket(place: &Path) {
    refused("listening", TcpListener::bind("127.0.0.1:0"));
    refused("connecting", TcpStream::connect("127.0.0.1:9"));
    refused("datagrams", UdpSocket::bind("127.0.0.1:0"));
    refused("a socket in scratch", UnixListener::bind(place.join("scratch/socket")));
    refused("a socket of another's", UnixStream::connect("/run/dbus/system_bus_socket"));
    refused("a pair of sockets", UnixDatagram::pair());
}

fn no_right() {
    let root = c"/";
    let none: *const libc::c_char = std::ptr::null();
    refused("mounting", called(unsafe { libc::mount(none, root.as_ptr(), none, libc::MS_BIND, std::ptr::null()) }));
    refused("unmounting", called(unsafe { libc::umount2(root.as_ptr(), libc::MNT_DETACH) }));
    refused("a name space", called(unsafe { libc::unshare(libc::CLONE_NEWUSER) }));
    // By the call itself: the C library's function would ask other threads of the harness, which gave up nothing.
    refused("another user", called(unsafe { libc::syscall(libc::SYS_setuid, 65_534) }));
    for (name, number) in [
        ("bpf", libc::SYS_bpf),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("keyctl", libc::SYS_keyctl),
        ("capset", libc::SYS_capset),
        ("seccomp", libc::SYS_seccomp),
        ("setns", libc::SYS_setns),
        ("init_module", libc::SYS_init_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("reboot", libc::SYS_reboot),
        ("clone3", libc::SYS_clone3),
        ("open_tree", libc::SYS_open_tree),
    ] {
        refused(name, called(unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) }));
    }
    let limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    refused("limits", called(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) }));
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NAME, CStr::as_ptr(c"name")) }, 0, "threads have names");
    refused("being looked into", called(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) }));
}
