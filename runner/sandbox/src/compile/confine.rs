//! Privileges that the compiling child drops before it reads a file.
//!
//! The compiler and the validator read untrusted bytes. An exploited bug in one of them
//! must find nothing to use: no descriptor of the runner, no capability, no file, no
//! socket, no other program and no other process. The child keeps its three pipes,
//! memory, threads and clocks.

use std::fs;
use std::io;

use crate::compile::confine::system_call::done;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod filter;
mod system_call;

/// Drops all privileges. For the child only: it closes every descriptor above 2.
///
/// Fails if the kernel rejects an operation that every kernel supports. System call
/// filters and Landlock are used where the kernel has them.
pub(crate) fn confine() -> io::Result<()> {
    close_inherited()?;
    // If memory runs out, the kernel kills this process rather than the runner. Without
    // /proc it decides by size.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    drop_privileges()
}

/// Drops the privileges of this thread and of every thread that it starts.
fn drop_privileges() -> io::Result<()> {
    control(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    drop_capabilities()?;
    deny_files()?;
    filter::install()
}

/// Closes descriptors that the runner inherited without close-on-exec, and this process
/// with it.
fn close_inherited() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: nothing in this process has opened a descriptor yet.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
    if closed == 0 {
        return Ok(());
    }
    // Linux before 5.9.
    let names = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let open: Vec<libc::c_int> = names.filter_map(|name| name.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|number| *number > 2) {
        // SAFETY: as above; that of the listing itself is closed already.
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}

fn drop_capabilities() -> io::Result<()> {
    /// `struct __user_cap_header_struct`
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    const VERSION_3: u32 = 0x2008_0522;
    const LAST: libc::c_ulong = 63;
    for capability in 0..=LAST {
        // Needs a capability itself, and fails above the kernel's last one. The calls
        // below are the ones that count.
        let _ = control(libc::PR_CAPBSET_DROP, capability);
    }
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    // Effective, permitted and inheritable, 64 bits each.
    let none = [0_u32; 6];
    // SAFETY: both live longer than the call, which only reads them.
    done(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) })
}

/// Denies opening any file from here on. Landlock, Linux 5.13 and newer.
fn deny_files() -> io::Result<()> {
    // `struct landlock_ruleset_attr` of the first version: every operation on files. A
    // ruleset without rules allows none of them.
    let handled: u64 = (1 << 13) - 1;
    // SAFETY: `handled` lives longer than the call, which only reads it.
    let rules = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const handled,
            size_of::<u64>(),
            0,
        )
    };
    if rules < 0 {
        return Ok(());
    }
    // SAFETY: two numbers.
    let restricted = done(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules, 0) });
    // SAFETY: the descriptor is ours, and nothing else uses it.
    unsafe { libc::close(rules as libc::c_int) };
    restricted
}

fn control(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: numbers only.
    let code = unsafe { libc::prctl(option, value, 0, 0, 0) };
    done(code.into())
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod filter {
    //! No list of system calls for this architecture.

    pub(crate) fn install() -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use super::*;

    /// Everything except descriptors is dropped per thread, so that a test can check it.
    fn confined<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::spawn(|| {
            drop_privileges().expect("privileges are dropped");
            what()
        });
        thread.join().expect("the thread ends")
    }

    #[track_caller]
    fn assert_denied<T>(tried: io::Result<T>, what: &str) {
        let error = tried.err().unwrap_or_else(|| panic!("{what} is possible"));
        assert_eq!(
            error.kind(),
            io::ErrorKind::PermissionDenied,
            "{what}: {error}"
        );
    }

    #[test]
    fn a_confined_thread_opens_no_socket_and_starts_no_program() {
        confined(|| {
            assert_denied(TcpListener::bind("127.0.0.1:0"), "a TCP socket");
            assert_denied(UdpSocket::bind("127.0.0.1:0"), "a UDP socket");
            assert_denied(UnixStream::pair(), "a pair of sockets");
            assert_denied(Command::new("/bin/true").status(), "another program");
            // SAFETY: numbers only; it is denied.
            let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, 0) };
            assert_denied(done(ring), "a ring of system calls");
            // SAFETY: signal 0 only checks permissions.
            let signal = unsafe { libc::kill(libc::getppid(), 0) };
            assert_denied(done(signal.into()), "a signal to another process");
        });
    }

    #[test]
    fn a_confined_thread_opens_no_file_and_has_no_capability() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        confined(move || {
            // Opened before: it can be read, and no other file can be opened.
            let status = fs::read_to_string("/proc/thread-self/status");
            assert_denied(status, "reading /proc");
            assert_denied(fs::read(file.path()), "reading a file");
            assert_denied(fs::write(file.path(), "x"), "writing a file");
            // SAFETY: numbers only.
            let privileges = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) };
            assert_eq!(privileges, 1);
            for capability in 0..=40 {
                // SAFETY: numbers only.
                let held = unsafe {
                    libc::prctl(libc::PR_CAPBSET_READ, capability as libc::c_ulong, 0, 0, 0)
                };
                assert!(held <= 0, "capability {capability} can be had again");
            }
        });
    }

    #[test]
    fn a_confined_thread_still_computes_with_threads_and_can_abort_itself() {
        let sum = confined(|| {
            let threads = (1..=4).map(|n| std::thread::spawn(move || n * n));
            let threads: Vec<_> = threads.collect();
            let sums = threads
                .into_iter()
                .map(|thread| thread.join().expect("it ends"));
            let sum = sums.sum::<u32>();
            // SAFETY: signal 0 only checks permissions.
            let own = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), 0) };
            assert_eq!(own, 0, "a signal to itself");
            sum
        });
        assert_eq!(sum, 30);
    }
}
