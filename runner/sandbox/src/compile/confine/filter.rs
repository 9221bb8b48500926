//! The denied system calls: seccomp, as a BPF program.

use std::io;

use libc::{c_long, sock_filter};

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;
/// Offsets in the kernel's record of a call: its number, its architecture and the low
/// half of its first two arguments.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST: u32 = 16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const MISSING: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// Denied whatever their arguments are.
const REFUSED: &[c_long] = &[
    // Sockets. `io_uring` creates them as well.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_io_uring_setup,
    // Other programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_setpriority,
    libc::SYS_sched_setscheduler,
    // Rarely used parts of the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_by_handle_at,
];

/// Installs the filter for this thread and those that it starts. Does nothing on a kernel
/// without filters.
pub(crate) fn install() -> io::Result<()> {
    let mut program = program(std::process::id());
    let program = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        filter: program.as_mut_ptr(),
    };
    let mode = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
    // SAFETY: the program lives longer than the call, which only reads it.
    let code = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0) };
    match crate::compile::confine::system_call::done(code.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(error),
        _ => Ok(()),
    }
}

fn program(own_id: u32) -> Vec<sock_filter> {
    let mut all = vec![
        load(ARCHITECTURE),
        jump(libc::BPF_JEQ, ARCH, 1, 0),
        end(REFUSE),
        load(NUMBER),
    ];
    // The numbers of x86's other interface, which this list does not cover.
    #[cfg(target_arch = "x86_64")]
    all.extend([jump(libc::BPF_JGE, 0x4000_0000, 0, 1), end(REFUSE)]);
    for number in REFUSED {
        all.extend([jump(libc::BPF_JEQ, *number as u32, 0, 1), end(REFUSE)]);
    }
    // Its flags are in memory, which a filter cannot read. Without it, the C library
    // makes threads by `clone`.
    let clone3 = libc::SYS_clone3 as u32;
    all.extend([jump(libc::BPF_JEQ, clone3, 0, 1), end(MISSING)]);
    // Threads, not processes.
    all.extend(if_argument(
        libc::SYS_clone,
        libc::BPF_JSET,
        libc::CLONE_THREAD as u32,
    ));
    // Signals to itself: `abort` sends one. Limits of itself.
    all.extend(if_argument(libc::SYS_tgkill, libc::BPF_JEQ, own_id));
    all.extend(if_argument(libc::SYS_prlimit64, libc::BPF_JEQ, 0));
    all.push(end(ALLOW));
    all
}

/// Allows a call if its first argument passes the test; otherwise denies it.
fn if_argument(number: c_long, test: u32, value: u32) -> [sock_filter; 5] {
    [
        jump(libc::BPF_JEQ, number as u32, 0, 4),
        load(FIRST),
        jump(test, value, 0, 1),
        end(ALLOW),
        end(REFUSE),
    ]
}

fn load(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0)
}

fn end(answer: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, answer, 0, 0)
}

/// Skips `jt` instructions if the test holds, `jf` if not.
fn jump(test: u32, value: u32, jt: u8, jf: u8) -> sock_filter {
    instruction(libc::BPF_JMP | test | libc::BPF_K, value, jt, jf)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}
