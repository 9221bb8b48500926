//! The thread for work that no guest may delay: heartbeat, health pages, signals and the
//! watchdog. A handler that does not yield blocks a thread of the main runtime, and with
//! it timers and sockets; this runtime has its own thread.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};

static CONTROL: OnceLock<Option<Handle>> = OnceLock::new();

/// The runtime of the control thread, which the first call starts and which runs until
/// the process ends. If no thread can be started, the caller's own runtime is used and a
/// warning is logged.
///
/// # Panics
///
/// Outside of a tokio runtime, if no thread can be started.
pub fn control() -> Handle {
    let started = CONTROL.get_or_init(|| match start() {
        Ok(handle) => Some(handle),
        Err(error) => {
            tracing::warn!(%error, "cannot start the control thread: a handler that does not yield will delay the heartbeat");
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
