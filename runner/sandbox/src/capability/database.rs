//! The database port of an attempt, for the capabilities that use it.

use std::sync::Arc;

use crate::attempt::state::StoreData;
use pgtq_task::{Database, Limits, NoDatabase};

/// The attempt's access to the database, and its limits.
pub(super) fn database(state: &StoreData) -> (Arc<dyn Database>, Arc<Limits>) {
    let database = match &state.attempt {
        Some(attempt) => Arc::clone(&attempt.database),
        None => Arc::new(NoDatabase) as Arc<dyn Database>,
    };
    (database, Arc::clone(&state.limits))
}
