//! SIGINT and SIGTERM, for the verbs that have something to put in order.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::error::Problem;
use pgtq_engine::control;

/// Signals that wait to be looked at: the third ends a runner.
const WAITING: usize = 8;

/// Both signals, in the order they come. They are received on the control thread, so
/// that no handler can hold them up.
pub(crate) struct Signals {
    received: mpsc::Receiver<&'static str>,
    sender: mpsc::Sender<&'static str>,
}

impl Signals {
    /// From now on the signals do not end the process by themselves.
    pub(crate) fn catch() -> Result<Self, Problem> {
        let wrong = |error| Problem::failed(format!("cannot listen for signals: {error}"));
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
                // Full: more than anybody asks for has come already.
                let _ = forward.try_send(name);
            }
        });
        Ok(Signals { received, sender })
    }

    /// Waits for the next one and says which. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        match self.received.recv().await {
            Some(name) => name,
            // Not while a sender is kept here.
            None => std::future::pending().await,
        }
    }

    /// Gives up, as after a third signal, when `after` has passed.
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
