//! Whether this process may start the threads that it needs.
//!
//! The runtime panics where a thread cannot be started, so it is tried before.

use std::io;
use std::sync::mpsc::channel;
use std::thread;

use super::error::Problem;

/// Threads beside the runtime's workers: standard error, signals, file events and
/// the first blocking calls.
const BESIDE: usize = 8;

/// Starts as many threads at once as every verb needs, and ends them.
pub(crate) fn check() -> io::Result<()> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (hold, held) = channel::<()>();
    let held = std::sync::Mutex::new(held);
    thread::scope(|scope| {
        let all = (0..workers + BESIDE).try_for_each(|_| {
            let wait = || drop(held.lock().map(|held| held.recv()));
            thread::Builder::new().spawn_scoped(scope, wait).map(drop)
        });
        // Now all of them end.
        drop(hold);
        all
    })
}

/// No more threads.
pub(crate) fn none(error: &io::Error) -> Problem {
    Problem::failed(format!("cannot start threads: {error}"))
        .help("raise the limit of processes (`ulimit -u`, or the container's limit of PIDs), or leave more memory free")
}
