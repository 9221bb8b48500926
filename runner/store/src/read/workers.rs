//! External workers, for display.

use jiff::Timestamp;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::sql::sql;

/// One external worker, by the name that it passed to `pop`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct WorkerRow {
    /// Its name.
    pub name: String,
    /// The role that it logged in as; none if it holds tasks and has not popped for a long time.
    pub role: Option<String>,
    /// Always `worker`; for runners this is their state.
    pub state: &'static str,
    /// Sessions that popped within the last ten minutes.
    pub sessions: i64,
    /// The queues that they popped from.
    pub queues: Vec<String>,
    /// Tasks that it holds.
    pub running: i64,
    /// When it last popped.
    pub seen_at: Timestamp,
    /// Seconds since then, by the database's clock.
    pub seen_seconds: f64,
    /// Seconds since the earliest of its leases expired, negative before that; none if it holds
    /// nothing.
    pub overdue_seconds: Option<f64>,
}

impl Store {
    /// External workers that hold tasks or popped within ten minutes, at most 1,000.
    pub async fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        let rows = self
            .run(Role::General, "list the workers", sql!("workers"), &[])
            .await?;
        Ok(rows
            .iter()
            .map(|row| WorkerRow {
                name: row.get("name"),
                role: row.get("role"),
                state: "worker",
                sessions: row.get("sessions"),
                queues: row.get("queues"),
                running: row.get("running"),
                seen_at: row.get("seen_at"),
                seen_seconds: row.get("seen_seconds"),
                overdue_seconds: row.get("overdue_seconds"),
            })
            .collect())
    }
}
