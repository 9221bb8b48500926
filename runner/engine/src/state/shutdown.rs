//! How the caller stops an engine, and how its loops are notified of it.

use tokio::sync::watch;

/// How urgently the engine should stop. Only increases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Claim and run tasks.
    Running,
    /// Claim nothing more, release unstarted tasks, let running attempts finish.
    Draining,
    /// Stop attempts now and release their tasks.
    Aborting,
}

/// A handle to stop an engine. Clones act on the same engine.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Sender<Phase>);

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown(watch::Sender::new(Phase::Running))
    }
}

impl Shutdown {
    /// A handle in the first phase.
    pub fn new() -> Self {
        Self::default()
    }

    /// First request: finish running attempts, claim nothing more.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Second request: stop running attempts and release their tasks without using an
    /// attempt.
    pub fn abort(&self) {
        self.advance(Phase::Aborting);
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the phase is at least `phase`. Cancel-safe.
    pub async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.subscribe();
        // The sender is a field of `self`, so waiting cannot fail.
        let _ = receiver.wait_for(|now| *now >= phase).await;
    }

    fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_drain_does_not_revert_an_abort() {
        let shutdown = Shutdown::new();
        shutdown.abort();
        shutdown.drain();
        assert_eq!(shutdown.phase(), Phase::Aborting);
        shutdown.reached(Phase::Draining).await;
    }
}
