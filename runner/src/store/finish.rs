//! Finish: store how attempts ended, if their claims still stand.

use super::{Ending, Finished, Store, StoreError};
use crate::task::RunnerId;

impl Store {
    /// Stores all endings in one transaction. `again` says that an earlier
    /// call with some of these endings ended in an error, so its commit may
    /// have happened: what is recorded already is skipped and counts as stored.
    pub async fn finish(
        &self,
        _runner: RunnerId,
        _endings: &[Ending],
        _again: bool,
    ) -> Result<Finished, StoreError> {
        todo!()
    }
}
