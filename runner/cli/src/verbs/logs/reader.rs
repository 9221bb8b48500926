//! Reads each log line once: from the stream while the attempt runs, or from its stored log
//! after it has ended, whichever is first.

use std::collections::{BTreeMap, HashSet};

use super::lines::stored;
use pgtq_store::{AttemptRow, LiveLine};
use pgtq_task::{ClaimId, LogLine, TaskId};

/// Identifies an attempt: a claim has at most one attempt of a task.
type Key = (TaskId, ClaimId);

/// An item to print, with the number of its attempt.
#[derive(Debug)]
pub(super) enum Item {
    /// A line, or a gap where lines were dropped.
    Line(i32, LogLine),
    /// The log ends here, because the runner was lost.
    RunnerLost(i32),
}

/// Records which lines were read.
#[derive(Debug, Default)]
pub(super) struct LogReader {
    /// The number of the last line read of each attempt.
    read: BTreeMap<Key, u64>,
    /// Attempts whose lost runner was reported.
    reported: HashSet<Key>,
}

impl LogReader {
    /// The claim and number of the last line read of a task.
    pub(super) fn newest(&self, task: TaskId) -> (ClaimId, u64) {
        let of_task = (task, ClaimId(0))..=(task, ClaimId(i64::MAX));
        let newest = self.read.range(of_task).next_back();
        newest.map_or((ClaimId(0), 0), |((_, claim), number)| (*claim, *number))
    }

    /// Returns the new items of a task. The caller must read `live` before `attempts`.
    pub(super) fn read(
        &mut self,
        task: TaskId,
        attempts: &[AttemptRow],
        live: &[LiveLine],
    ) -> Vec<Item> {
        let mut items = Vec::new();
        for attempt in attempts {
            let key = (task, attempt.claim.unwrap_or(ClaimId(0)));
            let lines = stored(attempt);
            if lines.is_empty() {
                let of_attempt = live.iter().filter(|line| line.claim == key.1);
                self.read_live(task, of_attempt, &mut items);
                let logged = self.read.contains_key(&key);
                if ["crash", "lost"].contains(&attempt.kind.as_str())
                    && logged
                    && self.reported.insert(key)
                {
                    items.push(Item::RunnerLost(attempt.number));
                }
            } else {
                self.read_stored(key, attempt.number, lines, &mut items);
            }
        }
        let is_stored = |claim| attempts.iter().any(|a| a.claim == Some(claim));
        let running = live.iter().filter(|line| !is_stored(line.claim));
        self.read_live(task, running, &mut items);
        items
    }

    fn read_live<'l>(
        &mut self,
        task: TaskId,
        lines: impl Iterator<Item = &'l LiveLine>,
        items: &mut Vec<Item>,
    ) {
        for live in lines {
            let read = self.read.entry((task, live.claim)).or_default();
            let Some(n_missing) = live.number.checked_sub(*read + 1) else {
                continue;
            };
            *read = live.number;
            if n_missing > 0 {
                let gap = LogLine::gap(n_missing, live.line.at_ms);
                items.push(Item::Line(live.attempt, gap));
            }
            items.push(Item::Line(live.attempt, live.line.clone()));
        }
    }

    fn read_stored(&mut self, key: Key, attempt: i32, lines: Vec<LogLine>, items: &mut Vec<Item>) {
        let read = self.read.get(&key).copied().unwrap_or(0);
        let mut number = 0;
        for line in lines {
            number += line.dropped.unwrap_or(1);
            if number <= read {
                continue;
            }
            // Some of the dropped lines may have been read from the stream.
            let line = match line.dropped {
                Some(dropped) => LogLine::gap(dropped.min(number - read), line.at_ms),
                None => line,
            };
            items.push(Item::Line(attempt, line));
        }
        self.read.insert(key, number.max(read));
    }
}

#[cfg(test)]
mod tests;
