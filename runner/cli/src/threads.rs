//! Checks that this process can start the threads that it needs.
//!
//! The runtime panics if a thread cannot be started, so this check runs first.

use std::io;
use std::sync::mpsc::channel;
use std::thread;

use super::error::Problem;

/// Threads in addition to the workers of the runtime: standard error, signals, file events
/// and the first blocking calls.
const EXTRA_THREADS: usize = 8;

/// Starts as many concurrent threads as a verb needs, and ends them.
pub(crate) fn check() -> io::Result<()> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (hold, held) = channel::<()>();
    let held = std::sync::Mutex::new(held);
    thread::scope(|scope| {
        let all = (0..workers + EXTRA_THREADS).try_for_each(|_| {
            let wait = || drop(held.lock().map(|held| held.recv()));
            thread::Builder::new().spawn_scoped(scope, wait).map(drop)
        });
        // Closes the channel, which ends all threads.
        drop(hold);
        all
    })
}

/// The error if a thread cannot be started.
pub(crate) fn none(error: &io::Error) -> Problem {
    Problem::failed(format!("cannot start threads: {error}")).help(
        "raise the process limit (`ulimit -u`, or the PID limit of the container), or free memory",
    )
}
