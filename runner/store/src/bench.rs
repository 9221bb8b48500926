//! What `pgtq bench` asks of the database and no runner ever does: to fill and
//! count a schema of its own, to read the server's WAL position, to hold an old
//! snapshot, and to be the raw-SQL floor that figures are compared with.
//!
//! Every statement works on the store's own schema, which the benchmark made and
//! drops: see [`Store::bench_drop`].

use tokio_postgres::Client;

use super::connection::Role;
use super::error::classify;
use super::sql::{Sql, sql};
use super::{Store, StoreError};
use pgtq_task::{Name, NewTask};

/// Rows made by one statement, so that none runs into the statement timeout.
const FILL: u64 = 250_000;

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

/// An open transaction that keeps every dead row in place until it is dropped.
pub struct Pin {
    _client: Client,
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

    /// Makes `n` waiting copies of `task` inside the server, in an hour's time
    /// if `scheduled`. Not a push: for backlogs that take too long to push.
    pub async fn bench_fill(
        &self,
        task: &NewTask,
        n: u64,
        scheduled: bool,
    ) -> Result<(), StoreError> {
        let statement = match scheduled {
            true => sql!("bench/fill_scheduled"),
            false => sql!("bench/fill"),
        };
        let queue = task.queue.as_ref().map_or("default", Name::as_str);
        let mut left = n;
        while left > 0 {
            let now = left.min(FILL);
            let rows = i64::try_from(now).unwrap_or(i64::MAX);
            self.bench(
                "fill a backlog",
                statement,
                &[&queue, &task.handler.as_str(), &task.args, &rows],
            )
            .await?;
            left -= now;
        }
        Ok(())
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

    /// Whether some task was claimed, now or earlier.
    pub async fn bench_touched(&self) -> Result<bool, StoreError> {
        let rows = self
            .bench("look for a claim", sql!("bench/touched"), &[])
            .await?;
        Ok(rows[0].get("touched"))
    }

    /// Opens a transaction that holds back the clean-up of dead rows, as a backup
    /// (reading) or a forgotten session (writing) does.
    pub async fn bench_pin(&self, writing: bool) -> Result<Pin, StoreError> {
        let client = self.open_listener(|_| ()).await?;
        let (begin, hold) = match writing {
            true => ("BEGIN", sql!("bench/pin_write")),
            false => (
                "BEGIN ISOLATION LEVEL REPEATABLE READ",
                sql!("bench/pin_read"),
            ),
        };
        let schema = &self.config().schema;
        for text in [begin, &schema.render(&hold.text)] {
            let done = client.batch_execute(text).await;
            done.map_err(|error| classify("pin a snapshot", schema.as_str(), &error))?;
        }
        Ok(Pin { _client: client })
    }

    /// Drops the store's schema and everything in it.
    pub async fn bench_drop(&self) -> Result<(), StoreError> {
        self.bench("drop the schema", sql!("bench/drop_schema"), &[])
            .await
            .map(drop)
    }

    /// Makes the floor's tables in the store's schema.
    pub async fn floor_create(&self) -> Result<(), StoreError> {
        for statement in [
            sql!("bench/floor_table"),
            sql!("bench/floor_index"),
            sql!("bench/floor_history"),
        ] {
            self.bench("make the floor", statement, &[]).await?;
        }
        Ok(())
    }

    /// Inserts `n` jobs with these arguments in one statement.
    pub async fn floor_insert(&self, args: &str, n: usize) -> Result<(), StoreError> {
        let all = vec![args; n];
        self.bench("insert jobs", sql!("bench/floor_insert"), &[&all])
            .await
            .map(drop)
    }

    /// Takes up to `most` jobs and ends them; how many there were.
    pub async fn floor_step(&self, most: u32) -> Result<usize, StoreError> {
        let rows = self
            .bench("take jobs", sql!("bench/floor_claim"), &[&i64::from(most)])
            .await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.get("id")).collect();
        if !ids.is_empty() {
            self.bench("end jobs", sql!("bench/floor_finish"), &[&ids])
                .await?;
        }
        Ok(ids.len())
    }

    /// Jobs that wait, and different jobs that ended.
    pub async fn floor_counts(&self) -> Result<(u64, u64), StoreError> {
        let rows = self
            .bench("count jobs", sql!("bench/floor_counts"), &[])
            .await?;
        let count = |name: &str| rows[0].get::<_, i64>(name).unsigned_abs();
        Ok((count("waiting"), count("ended")))
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
