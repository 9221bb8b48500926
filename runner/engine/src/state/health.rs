//! Which of the engine's database operations fail, and since when: for `/readyz`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgtq_store::StoreError;

/// The operations without which no task runs.
#[derive(Debug, Default)]
pub struct Health {
    /// Storing outcomes of attempts.
    pub outcomes: OperationHealth,
    /// Claiming tasks.
    pub claims: OperationHealth,
    /// Renewing the runner's lease.
    pub lease: OperationHealth,
}

/// Whether one kind of operation fails.
#[derive(Debug, Default)]
pub struct OperationHealth(Mutex<Option<(Instant, String)>>);

impl Health {
    /// The operations that have failed for at least `time`, one line each.
    pub fn failing(&self, time: Duration) -> Vec<String> {
        let each = [
            ("outcomes", &self.outcomes),
            ("claims", &self.claims),
            ("heartbeat", &self.lease),
        ];
        let line = |(what, operation): (&str, &OperationHealth)| {
            let (since, why) = operation.failing()?;
            let seconds = since.as_secs();
            (since >= time).then(|| format!("{what}: failing for {seconds} s: {why}"))
        };
        each.into_iter().filter_map(line).collect()
    }
}

impl OperationHealth {
    /// Records a failure with an error of the store.
    pub(crate) fn failed(&self, error: &StoreError) {
        self.record_failure(match error.hint() {
            Some(hint) => format!("{error} ({hint})"),
            None => error.to_string(),
        });
    }

    /// Records a failure with this reason.
    pub(crate) fn record_failure(&self, why: String) {
        let mut failing = self.lock();
        let since = failing
            .as_ref()
            .map_or_else(Instant::now, |(since, _)| *since);
        *failing = Some((since, why));
    }

    /// Records a success.
    pub(crate) fn record_success(&self) {
        *self.lock() = None;
    }

    /// How long the operation has failed, and why.
    pub fn failing(&self) -> Option<(Duration, String)> {
        let failing = self.lock();
        failing
            .as_ref()
            .map(|(since, why)| (since.elapsed(), why.clone()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_listed_with_their_latest_reason_until_recovery() {
        let health = Health::default();
        assert!(health.failing(Duration::ZERO).is_empty());
        health.claims.record_failure("first".to_owned());
        health.claims.record_failure("second".to_owned());
        assert_eq!(
            health.failing(Duration::ZERO),
            ["claims: failing for 0 s: second"]
        );
        assert!(health.failing(Duration::from_secs(5)).is_empty());
        health.claims.record_success();
        assert!(health.failing(Duration::ZERO).is_empty());
    }
}
