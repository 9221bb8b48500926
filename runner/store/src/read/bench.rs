//! What `pgtq bench` asks of the database and no runner ever does: to count a schema
//! of its own, to read the server's WAL position and what it was told.
//!
//! Every statement works on the store's own schema, which the benchmark made and
//! drops: see [`Store::bench_drop`].

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::sql::{Sql, sql};
use pgtq_task::Name;

/// Where the tasks of a benchmark are, all counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchCounts {
    /// Rows of history.
    pub ended: u64,
    /// Different tasks among them.
    pub distinct: u64,
    /// Those that completed.
    pub complete: u64,
    /// Tasks that are not over.
    pub left: u64,
}

/// How long tasks waited, in seconds of database time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BenchWaits {
    /// From push to start: half of them were faster.
    pub start_p50: f64,
    /// 95 of 100 were faster.
    pub start_p95: f64,
    /// 99 of 100 were faster.
    pub start_p99: f64,
    /// The slowest.
    pub start_max: f64,
    /// From push to end: half of them were faster.
    pub end_p50: f64,
}

impl Store {
    /// The server's version and the settings that figures depend on.
    pub async fn bench_facts(&self) -> Result<Vec<(String, String)>, StoreError> {
        let rows = self
            .bench("read settings", sql!("bench/facts"), &[])
            .await?;
        let pair = |row: &tokio_postgres::Row| (row.get("name"), row.get("value"));
        Ok(rows.iter().map(pair).collect())
    }

    /// Bytes of WAL that the server has written so far.
    pub async fn bench_wal(&self) -> Result<u64, StoreError> {
        let rows = self
            .bench("read the WAL position", sql!("bench/wal"), &[])
            .await?;
        Ok(rows[0].get::<_, i64>("bytes").unsigned_abs())
    }

    /// Writes a checkpoint, so that none is due while the clock runs. What comes after
    /// it writes whole pages the first time that it touches one of before. An account
    /// that may not measures without it.
    pub async fn bench_checkpoint(&self) -> Result<(), StoreError> {
        let mut lease = self.lease(Role::Bulk, "write a checkpoint").await?;
        match lease.batch(&sql!("bench/checkpoint").text).await {
            Err(error) if error.is_transient() => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the tables known to the planner.
    pub async fn bench_settle(&self) -> Result<(), StoreError> {
        let settle = self.config().schema.render(&sql!("bench/settle").text);
        let mut lease = self.lease(Role::Bulk, "vacuum").await?;
        lease.batch(&settle).await
    }

    /// Counts every task there is.
    pub async fn bench_counts(&self) -> Result<BenchCounts, StoreError> {
        let rows = self
            .bench("count the tasks", sql!("bench/counts"), &[])
            .await?;
        let count = |name: &str| rows[0].get::<_, i64>(name).unsigned_abs();
        Ok(BenchCounts {
            ended: count("ended"),
            distinct: count("distinct_ended"),
            complete: count("complete"),
            left: count("runnable") + count("scheduled") + count("running"),
        })
    }

    /// How long the tasks of `handler` waited; `None` if none has ended.
    pub async fn bench_waits(&self, handler: &Name) -> Result<Option<BenchWaits>, StoreError> {
        let rows = self
            .bench("read the waits", sql!("bench/waits"), &[&handler.as_str()])
            .await?;
        let row = &rows[0];
        let get = |name: &str| row.get::<_, Option<f64>>(name);
        let Some(start_p50) = get("start_p50") else {
            return Ok(None);
        };
        Ok(Some(BenchWaits {
            start_p50,
            start_p95: get("start_p95").unwrap_or_default(),
            start_p99: get("start_p99").unwrap_or_default(),
            start_max: get("start_max").unwrap_or_default(),
            end_p50: get("end_p50").unwrap_or_default(),
        }))
    }

    /// Drops the store's schema and everything in it.
    pub async fn bench_drop(&self) -> Result<(), StoreError> {
        self.bench("drop the schema", sql!("bench/drop_schema"), &[])
            .await
            .map(drop)
    }

    async fn bench(
        &self,
        verb: &'static str,
        statement: &Sql,
        params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        self.run(Role::Bulk, verb, statement, params).await
    }
}
