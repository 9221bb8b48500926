//! The server process: starts it, and stops it when this process ends.
//!
//! A separate thread starts the server and waits for it to exit. On Linux the kernel
//! signals the server when that thread ends, which happens only when the server or this
//! process ends. A second process, the janitor, waits for the end of a pipe that only
//! this process holds, and then removes an ephemeral directory, even after a SIGKILL of
//! this process.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::account::ServerAccount;

/// `$1` is the directory, `$2` the server's process id. Standard input ends with the
/// owner. The server removes its lock file on exit; a check of the process alone would
/// wait until its new parent reaps it.
const JANITOR: &str = r#"
cat >/dev/null
kill -s QUIT "$2" 2>/dev/null
lock="$1/.s.PGSQL.5432.lock"
n=0
while [ -e "$lock" ] && kill -s 0 "$2" 2>/dev/null && [ "$n" -lt 100 ]; do
    sleep 0.1
    n=$((n + 1))
done
rm -rf -- "$1"
"#;

/// A running server process.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: u32,
    exit: Arc<ProcessExit>,
}

#[derive(Debug, Default)]
struct ProcessExit {
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl Postmaster {
    /// Starts `command`, with its output in `log`. The directory `sweep`, if given, is
    /// removed when the server or this process has ended.
    pub(super) fn spawn(
        mut command: Command,
        log: File,
        account: ServerAccount,
        sweep: Option<&Path>,
    ) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A separate process group: Ctrl-C on the terminal must not stop the
            // server, which is needed until the runner has drained.
            .process_group(0);
        die_with_this_thread(&mut command);
        let sweep = sweep.map(Path::to_owned);
        let exit = Arc::new(ProcessExit::default());
        let (sender, receiver) = mpsc::sync_channel(1);
        let shared = Arc::clone(&exit);
        thread::Builder::new()
            .name("pgtq-postgres".to_owned())
            .spawn(move || {
                let mut server = match command.spawn() {
                    Ok(server) => server,
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        return;
                    }
                };
                let janitor = sweep.and_then(|dir| janitor(account, &dir, server.id()).ok());
                let _ = sender.send(Ok(server.id()));
                let status = server.wait().unwrap_or_else(|_| ExitStatus::from_raw(-1));
                *shared.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                shared.changed.notify_all();
                if let Some(mut janitor) = janitor {
                    drop(janitor.stdin.take());
                    let _ = janitor.wait();
                }
            })?;
        let pid = receiver
            .recv()
            .map_err(|_| io::Error::other("the thread that starts postgres ended"))??;
        Ok(Postmaster { pid, exit })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// The exit status; `None` while the server runs.
    pub(super) fn exit_status(&self) -> Option<ExitStatus> {
        *self
            .exit
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal, unless the server has exited: its process id may be reused.
    pub(super) fn signal(&self, number: i32) {
        if self.exit_status().is_none() {
            signal(self.pid, number);
        }
    }

    /// Waits for the server to exit, at most `timeout`. Returns whether it has exited.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let status = self
            .exit
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (status, _) = self
            .exit
            .changed
            .wait_timeout_while(status, timeout, |status| status.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        status.is_some()
    }
}

fn janitor(account: ServerAccount, dir: &Path, server: u32) -> io::Result<Child> {
    account
        .command(Path::new("/bin/sh"), Path::new("/"))
        .args(["-c", JANITOR, "pgtq-janitor"])
        .arg(dir)
        .arg(server.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Makes the kernel send SIGINT (fast shutdown) to the child when this thread ends.
#[cfg(target_os = "linux")]
fn die_with_this_thread(command: &mut Command) {
    let owner = std::process::id();
    // SAFETY: prctl and getppid are system calls, allowed between fork and exec. std
    // calls this after it changes the user id, which would clear the flag.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The owner may have died before the flag was set.
            if u32::try_from(libc::getppid()) != Ok(owner) {
                return Err(io::Error::other("the owner has exited"));
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_this_thread(_command: &mut Command) {}

/// Sends a signal to a process. No error if the process does not exist.
pub(super) fn signal(pid: u32, number: i32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    // SAFETY: kill takes two integers and does not access memory.
    unsafe { libc::kill(pid, number) };
}

/// Whether a process exists.
pub(super) fn exists(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else {
        return false;
    };
    // SAFETY: as in `signal`; signal 0 only checks for existence.
    let result = unsafe { libc::kill(pid, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// The process id in a lock file of Postgres: its first line.
pub(super) fn pid_in(lock_file: &Path) -> Option<u32> {
    fs::read_to_string(lock_file)
        .ok()?
        .lines()
        .next()?
        .trim()
        .parse()
        .ok()
}
