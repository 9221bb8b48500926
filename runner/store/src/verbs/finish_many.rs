//! Finish: stores a large flush of final outcomes by COPY.
//!
//! COPY fills a page of the history with one WAL record where an INSERT writes one for each row,
//! and bypasses the executor: less of both for the database, for three more round trips.
//! PERFORMANCE.md has the figures.

use std::collections::BTreeSet;

use tokio_postgres::types::{ToSql, Type};

use crate::connect::error::StoreError;
use crate::connect::session::Lease;
use crate::sql::columns::List;
use crate::sql::outcomes::{Copied, Outcomes};
use crate::sql::sql;
use crate::sql::timestamp::DbTimestamp;
use crate::verbs::outcome_record::{OutcomeRecord, Stale};
use pgtq_task::RunnerId;

/// Stores `endings`, all final and without children, in its own transaction. After an error the
/// transaction may still be open.
pub(crate) async fn store_many(
    lease: &mut Lease<'_>,
    runner: RunnerId,
    endings: &[&OutcomeRecord],
    kept: &[i64],
    closing: &[i64],
) -> Result<Stale, StoreError> {
    let held = lease
        .begin_with(sql!("finish_take"), &[&runner.0, &kept, &closing])
        .await?;
    let claims: BTreeSet<i64> = held.iter().map(|row| row.get("id")).collect();
    let (ours, late): (Vec<&OutcomeRecord>, Vec<&OutcomeRecord>) = endings
        .iter()
        .partition(|ending| claims.contains(&ending.claim.0));
    if let Some(first) = held.first() {
        let now = first.get::<_, DbTimestamp>("now").0;
        let copied = Copied::new(Outcomes::new(&ours), now);
        let runner: &(dyn ToSql + Sync) = &runner.0;
        let rows = (0..ours.len()).map(|n| List::Final.row(&copied, n).chain([runner]).collect());
        let types: Vec<Type> = List::Final.copied().chain([Type::INT8]).collect();
        lease.copy(sql!("finish_copy"), &types, rows).await?;
    }
    lease.commit().await?;
    Ok(late.iter().map(|e| (e.claim, e.task.id)).collect())
}
