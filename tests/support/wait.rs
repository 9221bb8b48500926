//! Waits for conditions.

use std::future::Future;
use std::time::{Duration, Instant};

/// The timeout of a wait: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The interval between two checks.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` is true. Panics after [`PATIENCE`] with `what`. Blocks the
/// thread.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        give_up_after(started, what);
        pause();
    }
}

/// As [`wait_until`], for an async condition.
pub async fn wait_until_async<F>(what: &str, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let started = Instant::now();
    while !condition().await {
        give_up_after(started, what);
        tokio::time::sleep(PAUSE).await;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the only place where tests sleep, always while waiting for a condition"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[track_caller]
fn give_up_after(started: Instant, what: &str) {
    assert!(
        started.elapsed() < PATIENCE,
        "waited {} s without success until {what}",
        PATIENCE.as_secs()
    );
}
