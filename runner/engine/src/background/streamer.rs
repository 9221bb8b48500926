//! Publishes what users want to see of a running attempt: its log lines so far, about
//! once a second, and a beat when it has reported progress. A runner that cannot listen
//! also beats to be notified of cancel requests.
//!
//! Only attempts that two rounds saw are published, so that short ones cost nothing. The
//! streamer reads the lines from the sandbox's own buffer: there is no queue between that
//! could fill up, and while the database is slow the log drops its own oldest lines. No
//! other loop waits for this one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::state::core::Core;
use crate::state::held_claims::LongRunning;
use pgtq_store::{LiveLog, StoreError};
use pgtq_task::{ClaimId, LogLine, LogPageLimit, Signal, StopReason, TaskId};

/// Time between rounds.
const INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of bytes that one round publishes, over all attempts.
const ROUND_LIMIT: LogPageLimit = LogPageLimit {
    lines: 4_000,
    bytes: 4 << 20,
};
/// Maximum number of attempts whose lines one round removes.
const MAX_REMOVED: usize = 1_000;
/// How long the removal at the end of the engine may take.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(1);

type AttemptKey = (ClaimId, TaskId);

/// How much of an attempt's log is in the database.
#[derive(Debug)]
struct PublishedLog {
    signal: Arc<Signal>,
    /// The number of the newest published line.
    newest: u64,
    /// Lines below this number were dropped by the log and are removed from the database.
    removed_below: u64,
    /// The round that last served it: the attempt that has waited longest is next.
    round: u64,
}

/// The attempts that have lines in the database.
#[derive(Debug, Default)]
pub(crate) struct PublishedLogs(Mutex<HashMap<AttemptKey, PublishedLog>>);

/// Streams until its future is dropped. The next round, or [`clear`], repeats what it did
/// not finish.
pub(crate) async fn stream(core: Arc<Core>, published: Arc<PublishedLogs>) {
    let mut round = 0;
    loop {
        tokio::time::sleep(INTERVAL).await;
        round += 1;
        let long = core.claims.long_running();
        let cannot_listen = core.config.poll_only && !long.is_empty();
        if cannot_listen || long.iter().any(|attempt| attempt.signal.has_progress()) {
            core.beat_now.notify_one();
        }
        if let Err(error) = publish(&core, &published, &long, round).await {
            tracing::debug!(%error, "could not publish log lines; the next round tries again");
        }
        if let Err(error) = remove_ended(&core, &published).await {
            tracing::debug!(%error, "could not remove log lines; the next round tries again");
        }
    }
}

/// Removes the lines of finished attempts before the engine ends.
pub(crate) async fn clear(core: &Core, published: &PublishedLogs) {
    let removal = async {
        while let Ok(n_removed @ 1..) = remove_ended(core, published).await {
            tracing::debug!(n_removed, "removed log lines");
        }
    };
    let _ = tokio::time::timeout(CLEAR_TIMEOUT, removal).await;
}

async fn publish(
    core: &Core,
    published: &PublishedLogs,
    long: &[LongRunning],
    round: u64,
) -> Result<(), StoreError> {
    let logs = published.new_lines(long);
    if logs.is_empty() {
        return Ok(());
    }
    // Recorded before the statement: if its answer is lost, it may have written lines.
    published.touch(long, &logs, round);
    match core.store.stream_logs(core.runner(), &logs).await {
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => tracing::warn!(%error, "the database rejected log lines; they are skipped"),
        Ok(()) => {}
    }
    published.sent(&logs);
    Ok(())
}

/// Returns how many attempts' lines were removed.
async fn remove_ended(core: &Core, published: &PublishedLogs) -> Result<usize, StoreError> {
    let ended = published.ended(|(claim, task)| core.claims.has_task(claim, task));
    if !ended.is_empty() {
        core.store.unstream_logs(&ended).await?;
        published.forget(&ended);
    }
    Ok(ended.len())
}

impl PublishedLogs {
    /// The new lines of these attempts, those first that have waited longest.
    fn new_lines(&self, long: &[LongRunning]) -> Vec<LiveLog> {
        let sent = self.lock();
        let mut waiting: Vec<(u64, &LongRunning, Option<&PublishedLog>)> = long
            .iter()
            .map(|attempt| (attempt, sent.get(&(attempt.claim, attempt.task))))
            .map(|(attempt, sent)| (sent.map_or(0, |sent| sent.round), attempt, sent))
            .collect();
        waiting.sort_by_key(|(round, ..)| *round);
        let mut room = ROUND_LIMIT;
        let mut logs = Vec::new();
        for (_, attempt, sent) in waiting {
            if room.lines == 0 {
                break;
            }
            let Some(log) = attempt.signal.log() else {
                continue;
            };
            let newest = sent.map_or(0, |sent| sent.newest);
            let page = log.after(newest, room);
            if page.lines.is_empty() {
                continue;
            }
            room.lines -= page.lines.len();
            room.bytes = room.bytes.saturating_sub(n_bytes(&page.lines));
            let removed_below = sent.map_or(0, |sent| sent.removed_below);
            logs.push(LiveLog {
                claim: attempt.claim,
                task: attempt.task,
                lines: page.lines,
                // Lines that were never sent need no removal.
                dropped: page.dropped.start.max(removed_below)..page.dropped.end.min(newest + 1),
                now_ms: page.now_ms,
            });
        }
        logs
    }

    /// Records that lines of these attempts may be in the database from now on.
    fn touch(&self, long: &[LongRunning], logs: &[LiveLog], round: u64) {
        let signals: HashMap<AttemptKey, &Arc<Signal>> = long
            .iter()
            .map(|attempt| ((attempt.claim, attempt.task), &attempt.signal))
            .collect();
        let mut sent = self.lock();
        for log in logs {
            let key = (log.claim, log.task);
            let Some(signal) = signals.get(&key) else {
                continue;
            };
            let entry = sent.entry(key).or_insert_with(|| PublishedLog {
                signal: Arc::clone(signal),
                newest: 0,
                removed_below: 0,
                round,
            });
            entry.round = round;
        }
    }

    /// Records that these lines are in the database.
    fn sent(&self, logs: &[LiveLog]) {
        let mut sent = self.lock();
        for log in logs {
            if let Some(entry) = sent.get_mut(&(log.claim, log.task)) {
                entry.newest = log.lines.last().map_or(entry.newest, |(number, _)| *number);
                entry.removed_below = entry.removed_below.max(log.dropped.end);
            }
        }
    }

    /// Attempts whose outcome is stored. Those of a lost claim are forgotten instead:
    /// their lines are all that is left of them, and prune removes them.
    fn ended(&self, held: impl Fn(AttemptKey) -> bool) -> Vec<AttemptKey> {
        let mut sent = self.lock();
        sent.retain(|key, entry| held(*key) || entry.signal.asked() != Some(StopReason::Lost));
        let ended = sent.keys().filter(|key| !held(**key));
        ended.copied().take(MAX_REMOVED).collect()
    }

    fn forget(&self, keys: &[AttemptKey]) {
        let mut sent = self.lock();
        for key in keys {
            sent.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptKey, PublishedLog>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn n_bytes(lines: &[(u64, LogLine)]) -> usize {
    let fields = |line: &LogLine| line.fields.as_ref().map_or(0, |json| json.get().len());
    let bytes = |(_, line): &(u64, LogLine)| line.message.len() + fields(line);
    lines.iter().map(bytes).sum()
}

#[cfg(test)]
mod tests;
