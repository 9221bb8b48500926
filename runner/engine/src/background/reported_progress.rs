//! The latest progress of each running task, as the next beat reports it.
//!
//! Handlers may report as often as they like: the signal keeps the latest value, and the
//! streamer requests a beat at most once a second when there is progress.

use std::collections::BTreeMap;

use pgtq_task::{ClaimId, Progress, TaskId};

/// Maximum number of tasks whose progress is reported: about 300 KB per beat.
const MAX_TASKS: usize = 1_000;

/// Owned by the heartbeat.
#[derive(Debug, Default)]
pub(crate) struct ReportedProgress(BTreeMap<(ClaimId, TaskId), Progress>);

impl ReportedProgress {
    /// Adds the latest values. Beyond the limit a task waits until another has finished,
    /// so that the reported set is stable.
    pub(crate) fn note(&mut self, claim: ClaimId, task: TaskId, progress: Progress) {
        if self.0.len() < MAX_TASKS || self.0.contains_key(&(claim, task)) {
            self.0.insert((claim, task), progress);
        }
    }

    /// Removes all other tasks.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(ClaimId, TaskId) -> bool) {
        self.0.retain(|(claim, task), _| keep(*claim, *task));
    }

    /// All reported values.
    pub(crate) fn list(&self) -> Vec<(ClaimId, TaskId, Progress)> {
        self.0
            .iter()
            .map(|((claim, task), progress)| (*claim, *task, progress.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(fraction: f64) -> Progress {
        Progress {
            fraction,
            message: String::new(),
        }
    }

    #[test]
    fn more_than_a_thousand_reporting_tasks_take_turns() {
        let mut book = ReportedProgress::default();
        for task in 0..1_500 {
            book.note(ClaimId(1), TaskId(task), at(0.1));
        }
        book.note(ClaimId(1), TaskId(7), at(0.5));
        let list = book.list();
        assert_eq!(list.len(), 1_000);
        assert_eq!(list[7], (ClaimId(1), TaskId(7), at(0.5)));
        book.retain(|_, task| task.0 >= 500);
        book.note(ClaimId(1), TaskId(1_499), at(0.1));
        assert_eq!(book.list().len(), 501);
    }

    #[test]
    fn a_later_attempt_of_a_task_does_not_inherit_progress() {
        let mut book = ReportedProgress::default();
        book.note(ClaimId(1), TaskId(7), at(0.9));
        book.retain(|claim, _| claim == ClaimId(2));
        assert_eq!(book.list(), []);
    }
}
