//! When a step of a request ends at the latest.

use std::time::Duration;

use tokio::time::Instant;

/// For the first byte of the response, and between two chunks of it, unless the guest
/// sets a time.
const SILENCE: Duration = Duration::from_secs(60);

/// The time after `time` from now, but not after the deadline.
pub(super) fn until(deadline: Instant, time: Option<Duration>) -> Instant {
    let end = Instant::now().checked_add(time.unwrap_or(SILENCE));
    end.map_or(deadline, |end| end.min(deadline))
}
