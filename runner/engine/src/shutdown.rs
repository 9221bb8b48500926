//! How the outside world stops an engine, and how its loops hear of it.

use tokio::sync::watch;

/// How urgently the engine should stop. Only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Claim and run.
    Running,
    /// Claim nothing more, give back what was not started, let the rest finish.
    Draining,
    /// Stop attempts now and give them back.
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
    /// A handle of an engine that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// First request: finish what runs, claim nothing more.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Second request: stop what runs and release it without using an attempt.
    pub fn abort(&self) {
        self.advance(Phase::Aborting);
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the phase is at least `phase`. Cancel-safe.
    pub async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
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
    async fn an_abort_is_not_taken_back_by_a_late_drain() {
        let shutdown = Shutdown::new();
        shutdown.abort();
        shutdown.drain();
        assert_eq!(shutdown.phase(), Phase::Aborting);
        shutdown.reached(Phase::Draining).await;
    }
}
