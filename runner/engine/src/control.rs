//! The thread for what no guest may hold up: heartbeat, health pages, signals and the
//! watchdog. A handler that does not yield blocks a thread of the main runtime, and
//! with it timers and sockets; this one has its own.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};

static CONTROL: OnceLock<Option<Handle>> = OnceLock::new();

/// The runtime of the control thread, which is started with the first call and ends
/// with the process. Where no thread can be started it is the caller's own runtime,
/// and the log says so.
///
/// # Panics
///
/// Outside of a tokio runtime, when no thread can be started.
pub fn control() -> Handle {
    let started = CONTROL.get_or_init(|| match start() {
        Ok(handle) => Some(handle),
        Err(error) => {
            tracing::warn!(%error, "cannot start the control thread: a handler that does not yield will hold up the heartbeat");
            None
        }
    });
    started.clone().unwrap_or_else(Handle::current)
}

fn start() -> std::io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("pgtq-control".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}
