//! System calls: seccomp (Documentation/userspace-api/seccomp_filter.rst of the kernel).
//!
//! A list of what is allowed, not of what is forbidden: kernels get new calls each year. A call that is not on it is answered
//! with `ENOSYS`, as by a kernel that never had it. C libraries begin to use new calls too, and go back to old ones then, so
//! that an update of the library at most costs time; ending the process would cost the mount. Whoever took the process over
//! gains nothing from an error.
//!
//! None of it starts a program or a process, opens a socket, sends to an address, maps memory that can be executed, changes
//! owner, mode or privileges of anything, mounts, traces, or signals others. `open` and its kind are on it: which files, that
//! is Landlock's to say.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::Kept;

/// Allowed whatever their arguments are.
const ALWAYS: &[c_long] = &[
    // files: Landlock says which
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_flock,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    // an index outside the vault
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    // memory
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mlock,
    // threads
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // signals to itself
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // time
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    // who and how it is
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_uname,
    // what is open already: the log, and the process that unmounts
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
];

/// Older names of some of them, which processors of later years never had.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_poll,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_link,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// `FUSE_DEV_IOC_CLONE` (include/uapi/linux/fuse.h): one more descriptor for a session that is open already.
const FUSE_DEV_IOC_CLONE: u64 = 0x8004_e500;

pub(super) fn give_up() -> Result<(), Kept> {
    let program = program().map_err(seccompiler::Error::from)?;
    Ok(seccompiler::apply_filter(&program)?)
}

fn program() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALWAYS.iter().chain(OLDER).map(|call| (*call, Vec::new())).collect();
    for (call, arguments) in sometimes() {
        let conditions = arguments
            .iter()
            .map(|Argument { number, mask, value }| {
                SeccompCondition::new(*number, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(*mask), *value)
            })
            .collect::<Result<Vec<_>, _>>()?;
        rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
    }
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, unknown, SeccompAction::Allow, arch)?.try_into()
}

/// What an argument must be, in the bits that count.
struct Argument {
    number: u8,
    mask: u64,
    value: u64,
}

/// An `int` of the kernel's: what the upper half of its register holds, nobody looks at.
fn int(number: u8, value: u64) -> Argument {
    Argument { number, mask: u64::from(u32::MAX), value }
}

fn without(number: u8, bits: libc::c_int) -> Argument {
    Argument { number, mask: u64::from(bits.unsigned_abs()), value: 0 }
}

fn null(number: u8) -> Argument {
    Argument { number, mask: u64::MAX, value: 0 }
}

/// Allowed where all arguments named are so. A call that is named twice is allowed either way.
fn sometimes() -> Vec<(c_long, Vec<Argument>)> {
    const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let itself = u64::from(std::process::id());
    let mut rules = vec![
        (libc::SYS_mmap, vec![without(2, libc::PROT_EXEC)]),
        (libc::SYS_mprotect, vec![without(2, libc::PROT_EXEC)]),
        // Threads only. `clone3` has its flags in memory, where no filter can look: libraries go back to this one.
        (
            libc::SYS_clone,
            vec![Argument { number: 0, mask: thread | u64::from(NAMESPACES.unsigned_abs()), value: thread }],
        ),
        (libc::SYS_tgkill, vec![int(0, itself)]),
        (libc::SYS_sendto, vec![null(4)]),
        (libc::SYS_ioctl, vec![int(1, FUSE_DEV_IOC_CLONE)]),
        (libc::SYS_prctl, vec![int(0, u64::from(libc::PR_SET_NAME.unsigned_abs()))]),
        (libc::SYS_prlimit64, vec![int(0, 0), null(2)]),
    ];
    // Not `F_SETFL`, which could make a log that only grows one that can be overwritten.
    for command in [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_OFD_SETLK] {
        rules.push((libc::SYS_fcntl, vec![int(1, u64::from(command.unsigned_abs()))]));
    }
    rules
}
