//! SIGINT and SIGTERM, for verbs that clean up before they exit.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::error::Problem;
use pgtq_engine::control;

/// Capacity of the queue of signals: the third one ends a runner.
const WAITING: usize = 8;

/// Both signals in order of arrival. The control thread receives them, which handlers
/// cannot block.
pub(crate) struct Signals {
    received: mpsc::Receiver<&'static str>,
    sender: mpsc::Sender<&'static str>,
}

impl Signals {
    /// Installs the handlers. From then on the signals no longer end the process.
    pub(crate) fn catch() -> Result<Self, Problem> {
        let wrong = |error| Problem::failed(format!("cannot install signal handlers: {error}"));
        let control = control();
        let _entered = control.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
        let (sender, received) = mpsc::channel(WAITING);
        let forward = sender.clone();
        control.spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                    () = forward.closed() => return,
                };
                // A full queue contains more signals than any verb handles.
                let _ = forward.try_send(name);
            }
        });
        Ok(Signals { received, sender })
    }

    /// Waits for the next signal and returns its name. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        match self.received.recv().await {
            Some(name) => name,
            // Unreachable, because `self` keeps a sender.
            None => std::future::pending().await,
        }
    }

    /// Simulates two more signals after this time, so that a runner that was asked to stop
    /// once stops.
    pub(crate) fn give_up_after(&self, after: Duration) {
        let sender = self.sender.clone();
        control().spawn(async move {
            tokio::time::sleep(after).await;
            for _ in 0..2 {
                let _ = sender.try_send("timeout");
            }
        });
    }
}
