//! Finish: stores a large flush of final outcomes by COPY.
//!
//! COPY fills a page of the history with one WAL record where an INSERT writes one for each row,
//! and bypasses the executor: less of both for the database, for three more round trips.
//! PERFORMANCE.md has the figures.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::types::{ToSql, Type};

use super::carried;
use super::columns::FinalColumns;
use super::finish::Stale;
use super::session::Lease;
use super::sql::sql;
use super::timestamp::DbTimestamp;
use super::{Ending, StoreError};
use pgtq_task::RunnerId;

/// From how many outcomes on COPY is used. With fewer, the round trips cost more than they save.
pub(super) const MANY: usize = 50;

/// As in `finish_copy.sql`, after the carried columns. JSON is sent as text.
const TYPES: [Type; 21] = [
    Type::INT8,
    Type::TEXT,
    Type::INT4,
    Type::INT4,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT_ARRAY,
    Type::TEXT,
    Type::INT8,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::BYTEA,
    Type::INT8,
    Type::INT8,
];

/// Stores `endings`, all final and without children, in its own transaction. After an error the
/// transaction may still be open.
pub(super) async fn store_many(
    lease: &mut Lease<'_>,
    runner: RunnerId,
    endings: &[&Ending],
    kept: &[i64],
    closing: &[i64],
) -> Result<Stale, StoreError> {
    let held = lease
        .begin_with(sql!("finish_take"), &[&runner.0, &kept, &closing])
        .await?;
    let claims: BTreeSet<i64> = held.iter().map(|row| row.get("id")).collect();
    let (ours, late): (Vec<&Ending>, Vec<&Ending>) = endings
        .iter()
        .partition(|ending| claims.contains(&ending.claim.0));
    if let Some(first) = held.first() {
        let rows = Rows::new(&ours, runner, first.get::<_, DbTimestamp>("now").0);
        let rows = (0..ours.len()).map(|n| rows.row(n));
        let types = [&carried::TYPES[..], &TYPES[..]].concat();
        lease.copy(sql!("finish_copy"), &types, rows).await?;
    }
    lease.commit().await?;
    Ok(late.iter().map(|e| (e.claim, e.task.id)).collect())
}

struct Rows<'a> {
    columns: FinalColumns<'a>,
    started: Vec<DbTimestamp>,
    finished: Vec<DbTimestamp>,
    backtraces: Vec<Option<Vec<String>>>,
    runner: i64,
}

impl<'a> Rows<'a> {
    fn new(endings: &[&'a Ending], runner: RunnerId, now: Timestamp) -> Self {
        let columns = FinalColumns::new(endings);
        let ago = |seconds: &f64| {
            let ago = SignedDuration::try_from_secs_f64(*seconds).unwrap_or_default();
            DbTimestamp(now.checked_sub(ago).unwrap_or(now))
        };
        let lines = |text: &Option<String>| {
            let text = text.as_ref()?;
            Some(text.split('\n').map(str::to_owned).collect())
        };
        Rows {
            started: columns.common.since_start.iter().map(ago).collect(),
            finished: columns.common.since_end.iter().map(ago).collect(),
            backtraces: columns.common.backtraces.iter().map(lines).collect(),
            runner: runner.0,
            columns,
        }
    }

    fn row(&self, n: usize) -> Vec<&(dyn ToSql + Sync)> {
        let own = &self.columns;
        let c = &own.common;
        let mut row = c.carried.row(n).to_vec();
        let others: [&(dyn ToSql + Sync); TYPES.len()] = [
            &c.ids[n],
            &own.states[n],
            &c.attempts[n],
            &c.crashes[n],
            &own.results[n],
            &own.error_kinds[n],
            &c.error_codes[n],
            &c.error_messages[n],
            &c.error_details[n],
            &self.backtraces[n],
            &c.logs[n],
            &c.logs_dropped[n],
            &c.due_at[n],
            &self.started[n],
            &self.finished[n],
            &c.fuel[n],
            &c.peak_memory[n],
            &c.wall_us[n],
            &c.digests[n],
            &self.runner,
            &c.claim_ids[n],
        ];
        row.extend(others);
        row
    }
}
