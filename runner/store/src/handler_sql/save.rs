//! Reads and writes the values that a task's attempts have saved.

use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::handler_sql::database::AttemptDatabase;
use crate::handler_sql::saved::{Saved, lost};
use crate::sql::sql;
use pgtq_task::Problem;

impl AttemptDatabase {
    /// Loads the task's values unless they are loaded.
    pub(super) async fn load_saved(&self, saved: &mut Saved) -> Result<(), Problem> {
        if saved.is_known() {
            return Ok(());
        }
        let rows = self
            .store
            .run(
                Role::State,
                "load saved values",
                sql!("state_load"),
                &[&self.task.0],
            )
            .await
            .map_err(|error| problem(&error))?;
        let pairs = rows.iter().map(|row| (row.get("name"), row.get("value")));
        saved.load(pairs.collect());
        Ok(())
    }

    /// Saves one value in its own transaction, if the claim is still ours.
    pub(super) async fn save_now(
        &self,
        saved: &mut Saved,
        name: &str,
        value: &str,
    ) -> Result<(), Problem> {
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&self.runner.0, &self.claim.0, &self.task.0, &name, &value];
        let saving = self
            .store
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
}

fn problem(error: &StoreError) -> Problem {
    let code = match error {
        StoreError::Refused { .. } => "invalid",
        _ => "unavailable",
    };
    Problem::new(code, error.to_string())
}
