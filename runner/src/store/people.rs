//! What people do to tasks and queues: cancel, retry, delete, pause, resume.

use super::{Filter, Store, StoreError};
use crate::task::{Name, State, TaskId};

/// What became of one task that was asked for by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The task.
    pub id: TaskId,
    /// Where it was; `None` when there is no such task.
    pub was: Option<State>,
    /// Whether something happened. A cancel of a running task that was asked
    /// for counts, although the task ends a moment later.
    pub changed: bool,
}

impl Store {
    /// Cancels: waiting tasks at once, running ones by asking their runner.
    pub async fn cancel(&self, _ids: &[TaskId]) -> Result<Vec<Moved>, StoreError> {
        todo!()
    }

    /// Makes failed and cancelled tasks runnable, their counts back at zero,
    /// and scheduled ones runnable now.
    pub async fn retry(&self, _ids: &[TaskId]) -> Result<Vec<Moved>, StoreError> {
        todo!()
    }

    /// Removes tasks with all traces. Running ones are left alone.
    pub async fn delete(&self, _ids: &[TaskId]) -> Result<Vec<Moved>, StoreError> {
        todo!()
    }

    /// How many tasks a filter meets; its limit is ignored.
    pub async fn count(&self, _filter: &Filter) -> Result<u64, StoreError> {
        todo!()
    }

    /// The next ids a filter meets, ascending, after `after`: the way to do
    /// something to many tasks in batches (at most 10,000 at once).
    pub async fn ids(
        &self,
        _filter: &Filter,
        _after: Option<TaskId>,
    ) -> Result<Vec<TaskId>, StoreError> {
        todo!()
    }

    /// Stops claims from a queue. Tasks under way go on. False: it was paused already.
    pub async fn pause_queue(&self, _queue: &Name) -> Result<bool, StoreError> {
        todo!()
    }

    /// Ends a pause. False: it was not paused.
    pub async fn resume_queue(&self, _queue: &Name) -> Result<bool, StoreError> {
        todo!()
    }

    /// Stops claims of a handler's tasks. False: it was paused already.
    pub async fn pause_handler(&self, _handler: &Name) -> Result<bool, StoreError> {
        todo!()
    }

    /// Ends a pause. False: it was not paused.
    pub async fn resume_handler(&self, _handler: &Name) -> Result<bool, StoreError> {
        todo!()
    }
}
