//! Reads and writes the values that a task's attempts have saved.

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::handler_sql::saved::{SavedValues, lost};
use crate::sql::sql;
use pgtq_task::{ClaimId, GuestError, RunnerId, TaskId};

/// Loads the task's values unless they are loaded.
pub(super) async fn load(
    store: &Store,
    task: TaskId,
    saved: &mut SavedValues,
) -> Result<(), GuestError> {
    if saved.is_known() {
        return Ok(());
    }
    let rows = store
        .run(
            Role::State,
            "load saved values",
            sql!("state_load"),
            &[&task.0],
        )
        .await
        .map_err(|error| problem(&error))?;
    let pairs = rows.iter().map(|row| (row.get("name"), row.get("value")));
    saved.load(pairs.collect());
    Ok(())
}

/// Saves one value in its own transaction, if the claim is still ours.
pub(super) async fn save(
    store: &Store,
    (runner, claim, task): (RunnerId, ClaimId, TaskId),
    saved: &mut SavedValues,
    name: &str,
    value: &str,
) -> Result<(), GuestError> {
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&runner.0, &claim.0, &task.0, &name, &value];
    let saving = store
        .run(Role::State, "save a value", sql!("state_save"), &params)
        .await;
    match saving {
        Ok(rows) if rows.is_empty() => Err(lost()),
        Ok(_) => {
            saved.store(name, value);
            Ok(())
        }
        Err(error) => {
            saved.invalidate();
            Err(problem(&error))
        }
    }
}

fn problem(error: &StoreError) -> GuestError {
    let code = match error {
        StoreError::Refused { .. } => "invalid",
        _ => "unavailable",
    };
    GuestError::new(code, error.to_string())
}
