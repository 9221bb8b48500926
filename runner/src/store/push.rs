//! Push: many tasks in one transaction.

use super::{Store, StoreError};
use crate::task::{NewTask, TaskId};

/// What became of one pushed task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The task's id.
    pub id: TaskId,
    /// A task with this idempotency key was there already: this is its id.
    pub existed: bool,
}

impl Store {
    /// Pushes all or none, in this order. Any number: large ones are sent in
    /// chunks inside one transaction. Refused: a name, size, delay or JSON
    /// text the database does not accept.
    pub async fn push(&self, _tasks: &[NewTask]) -> Result<Vec<Pushed>, StoreError> {
        todo!()
    }
}
