//! SIGINT and SIGTERM, for the verbs that have something to put in order.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::Problem;

/// Both signals, in the order they come.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on the signals do not end the process by themselves.
    pub(crate) fn catch() -> Result<Self, Problem> {
        let wrong = |error| Problem::failed(format!("cannot listen for signals: {error}"));
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).map_err(wrong)?,
            terminate: signal(SignalKind::terminate()).map_err(wrong)?,
        })
    }

    /// Waits for the next one and says which. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
