//! The server process: starting it, and making sure that it ends with us.
//!
//! A thread of its own starts the server and waits for its end. On Linux the
//! kernel signals the server when that thread ends, and it ends only with the
//! server or with this process. A second process, the keeper, waits for the end
//! of a pipe that only we hold; it removes an ephemeral directory when we are
//! gone, which nobody could do after a SIGKILL otherwise.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::account::Account;

/// `$1` is the directory, `$2` the server. Standard input ends with its owner. The
/// server removes its lock file when it ends; asking for the process alone would
/// wait for its new parent to collect its status.
const KEEPER: &str = r#"
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
    end: Arc<End>,
}

#[derive(Debug, Default)]
struct End {
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl Postmaster {
    /// Starts `command`, its words going to `log`. With `sweep`, that directory is
    /// removed once both the server and this process have ended.
    pub(super) fn spawn(
        mut command: Command,
        log: File,
        account: Account,
        sweep: Option<&Path>,
    ) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C in our terminal is ours to handle, and
            // the server must outlive our drain.
            .process_group(0);
        die_with_this_thread(&mut command);
        let sweep = sweep.map(Path::to_owned);
        let end = Arc::new(End::default());
        let (sender, receiver) = mpsc::sync_channel(1);
        let shared = Arc::clone(&end);
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
                let keeper = sweep.and_then(|dir| keeper(account, &dir, server.id()).ok());
                let _ = sender.send(Ok(server.id()));
                let status = server.wait().unwrap_or_else(|_| ExitStatus::from_raw(-1));
                *shared.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                shared.changed.notify_all();
                if let Some(mut keeper) = keeper {
                    drop(keeper.stdin.take());
                    let _ = keeper.wait();
                }
            })?;
        let pid = receiver
            .recv()
            .map_err(|_| io::Error::other("the thread that starts postgres ended"))??;
        Ok(Postmaster { pid, end })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, or `None` while it runs.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        *self
            .end
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `number`, unless it has ended: its process id may be another's by now.
    pub(super) fn signal(&self, number: i32) {
        if self.ended().is_none() {
            signal(self.pid, number);
        }
    }

    /// Waits for its end, at most `patience`. True when it has ended.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let status = self
            .end
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (status, _) = self
            .end
            .changed
            .wait_timeout_while(status, patience, |status| status.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        status.is_some()
    }
}

fn keeper(account: Account, dir: &Path, server: u32) -> io::Result<Child> {
    account
        .command(Path::new("/bin/sh"), Path::new("/"))
        .args(["-c", KEEPER, "pgtq-keeper"])
        .arg(dir)
        .arg(server.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Has the kernel send SIGINT (fast shutdown) to the child when the thread that
/// starts it ends.
#[cfg(target_os = "linux")]
fn die_with_this_thread(command: &mut Command) {
    let owner = std::process::id();
    // SAFETY: prctl and getppid are plain system calls, allowed between fork and
    // exec. std runs this after it changed the user id, which would clear the flag.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The owner may have died before the flag was set.
            if u32::try_from(libc::getppid()) != Ok(owner) {
                return Err(io::Error::other("the owner is gone"));
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_this_thread(_command: &mut Command) {}

/// Sends a signal to a process; a process that is gone is fine.
pub(super) fn signal(pid: u32, number: i32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    // SAFETY: kill takes two numbers and touches no memory of ours.
    unsafe { libc::kill(pid, number) };
}

/// Whether a process exists.
pub(super) fn lives(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else {
        return false;
    };
    // SAFETY: as in `signal`; signal 0 only asks.
    let answer = unsafe { libc::kill(pid, 0) };
    answer == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// The process id on the first line of a lock file of Postgres.
pub(super) fn pid_in(lock_file: &Path) -> Option<u32> {
    fs::read_to_string(lock_file)
        .ok()?
        .lines()
        .next()?
        .trim()
        .parse()
        .ok()
}
