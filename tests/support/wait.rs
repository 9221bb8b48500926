//! Waiting for a condition.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a test waits for something that should come at once: long enough for
/// a busy machine, short enough for a person.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` holds; panics after [`PATIENCE`] with `what`. Blocks
/// the thread.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        give_up_after(started, what);
        pause();
    }
}

/// As [`wait_until`], for a condition that awaits.
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
    reason = "the one place where tests wait, and always for a condition"
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
