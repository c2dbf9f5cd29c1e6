//! What the handler does to a process as a whole, seen from outside: each case is a process of its own.

use std::ffi::c_int;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::ptr;

use super::Mapped;
use crate::media::files::{Files, SystemFiles};

/// Which case the child is; set for the child only.
const CASE: &str = "ICECORE_TEST_SIGBUS_CASE";

/// How the child ends where it got to the end, and where an earlier handler ended it.
const LIVES: i32 = 40;
const HANDED_ON: i32 = 41;

fn run(case: &str) -> ExitStatus {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "media::mapped::process::child", "--nocapture"])
        .env(CASE, case)
        .status()
        .expect("a child")
}

/// Not a test by itself: the process of one case.
#[test]
fn child() {
    let Ok(case) = std::env::var(CASE) else { return };
    // Dying is what some of the cases are for; nobody wants to look into them.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none).expect("no core files");
    match case.as_str() {
        "pread" => pread_leaves_the_handler_alone(),
        "full" => files_beyond_the_last_map_are_read_without(),
        "sent, ignored" => {
            set(libc::SIG_IGN, 0);
            our_fault_is_mended();
            // SAFETY: a signal to this thread.
            unsafe { libc::raise(libc::SIGBUS) };
        }
        "sent, default" => {
            set(libc::SIG_DFL, 0);
            our_fault_is_mended();
            // SAFETY: a signal to this thread.
            unsafe { libc::raise(libc::SIGBUS) };
        }
        _ => {
            match case.as_str() {
                "default" => set(libc::SIG_DFL, 0),
                "ignored" => set(libc::SIG_IGN, 0),
                "plain handler" => set(plain as *const () as usize, 0),
                "handler" => set(with_address as *const () as usize, libc::SA_SIGINFO),
                other => assert_eq!(other, "as Rust has it"),
            }
            our_fault_is_mended();
            foreign_fault();
        }
    }
    std::process::exit(LIVES);
}

fn set(handler: usize, flags: c_int) {
    // SAFETY: an all-zero `sigaction` is valid; the handler is one of the functions here, with flags that fit it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()), 0);
    }
}

fn disposition() -> usize {
    // SAFETY: asks only, into a structure that lives through the call.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut action), 0);
        action.sa_sigaction
    }
}

extern "C" fn plain(signal: c_int) {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(if signal == libc::SIGBUS { HANDED_ON } else { 1 }) }
}

/// Where the fault is that the child makes.
static FOREIGN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

extern "C" fn with_address(signal: c_int, info: *mut libc::siginfo_t, context: *mut std::ffi::c_void) {
    // SAFETY: the structure is the kernel's; ends the process at once.
    unsafe {
        let expected = FOREIGN.load(std::sync::atomic::Ordering::Relaxed);
        let right = (*info).si_addr().addr() == expected && (*info).si_code == libc::BUS_ADRERR && !context.is_null();
        libc::_exit(if signal == libc::SIGBUS && right { HANDED_ON } else { 1 })
    }
}

/// A map without its file.
fn cut_map() -> (std::fs::File, Option<Mapped>, memmap2::Mmap) {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(1 << 20).expect("grown");
    // SAFETY: read by address only.
    let foreign = unsafe { memmap2::Mmap::map(&file) }.expect("a map");
    let ours = Mapped::new(&file);
    file.set_len(0).expect("cut");
    (file, ours, foreign)
}

fn our_fault_is_mended() {
    let (_file, ours, _) = cut_map();
    assert_eq!(ours.expect("a map").read_at(1 << 19, &mut [0; 100]), None);
}

/// Reads a map of which nobody knows.
fn foreign_fault() {
    let (_file, _ours, foreign) = cut_map();
    let at = foreign.as_ptr().wrapping_add(1 << 19);
    FOREIGN.store(at.addr(), std::sync::atomic::Ordering::Relaxed);
    // SAFETY: inside the map; it faults, which is what it is for.
    std::hint::black_box(unsafe { at.read_volatile() });
}

fn pread_leaves_the_handler_alone() {
    let before = disposition();
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("file");
    std::fs::write(&path, b"bytes").expect("written");
    let mut buffer = [0; 5];
    let file = SystemFiles.open(&path, false).expect("opened");
    assert_eq!(file.read_at(0, &mut buffer).expect("read"), 5);
    assert_eq!(disposition(), before, "somebody else's");
    let file = SystemFiles.open(&path, true).expect("opened");
    assert_eq!(file.read_at(0, &mut buffer).expect("read"), 5);
    assert_ne!(disposition(), before, "ours");
}

fn files_beyond_the_last_map_are_read_without() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("file");
    std::fs::write(&path, b"bytes").expect("written");
    let file = std::fs::File::open(&path).expect("opened");
    let mut maps: Vec<Mapped> = std::iter::from_fn(|| Mapped::new(&file)).collect();
    assert!(maps.len() >= 1024, "{} maps", maps.len());
    let mut buffer = [0; 5];
    let beyond = SystemFiles.open(&path, true).expect("opened");
    assert_eq!(beyond.read_at(0, &mut buffer).expect("read"), 5);
    assert_eq!(&buffer, b"bytes");
    // Where one goes, another has room.
    maps.pop();
    assert!(Mapped::new(&file).is_some());
}

#[test]
fn a_foreign_fault_goes_to_the_handler_that_was_there() {
    assert_eq!(run("handler").code(), Some(HANDED_ON), "one that wants the address");
    assert_eq!(run("plain handler").code(), Some(HANDED_ON));
}

#[test]
fn a_foreign_fault_that_nobody_handles_ends_the_process_as_ever() {
    for case in ["default", "ignored", "as Rust has it"] {
        assert_eq!(run(case).signal(), Some(libc::SIGBUS), "{case}");
    }
}

#[test]
fn a_signal_that_somebody_sent_does_what_it_did_before() {
    assert_eq!(run("sent, default").signal(), Some(libc::SIGBUS));
    assert_eq!(run("sent, ignored").code(), Some(LIVES));
}

#[test]
fn reads_without_maps_leave_the_handler_alone() {
    assert_eq!(run("pread").code(), Some(LIVES));
}

#[test]
fn with_all_maps_in_use_files_are_read_without() {
    assert_eq!(run("full").code(), Some(LIVES));
}
