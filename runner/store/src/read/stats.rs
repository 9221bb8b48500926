//! Statistics for operators and metrics: queues, runners, handlers, throughput.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::read::waiting::{MOST_QUEUES, total, waiting};
use crate::sql::sql;
use pgtq_task::{HandlerInfo, RunnerId};

/// Approximate sample size for wait and run times.
const TIMED: f64 = 10_000.0;
/// Minutes that handler statistics cover.
const MINUTES: usize = 5;
/// Maximum handlers in the list.
const MOST_HANDLERS: usize = 100;

/// One queue.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct QueueRow {
    /// Its name.
    pub queue: String,
    /// When it was paused.
    pub paused_at: Option<Timestamp>,
    /// Tasks that are not due yet.
    pub scheduled: i64,
    /// Tasks that are due.
    pub runnable: i64,
    /// `scheduled` is an estimate, because there are many.
    pub scheduled_is_estimate: bool,
    /// `runnable` is an estimate, because there are many.
    pub runnable_is_estimate: bool,
    /// Tasks that run.
    pub running: i64,
    /// Tasks completed in the last hour.
    pub complete_hour: i64,
    /// Tasks failed in the last hour.
    pub failed_hour: i64,
    /// How long the oldest due task has been due, in seconds; among the counted tasks only, if
    /// `runnable` is an estimate.
    pub oldest_runnable_seconds: Option<f64>,
}

/// One runner.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RunnerRow {
    /// Its id.
    pub id: RunnerId,
    /// Its name.
    pub name: String,
    /// Its machine.
    pub host: String,
    /// Its process id.
    pub pid: i32,
    /// Its version of pgtq.
    pub version: String,
    /// `running`, `draining`, or `lost` when its lease has expired.
    pub state: String,
    /// Maximum concurrent attempts.
    pub slots: i32,
    /// Running attempts at the last beat.
    pub busy: i32,
    /// Tasks that it had claimed and not started at the last beat.
    pub held: i32,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// When it registered.
    pub started_at: Timestamp,
    /// Its last beat.
    pub seen_at: Timestamp,
    /// Seconds since its last beat, by the database's clock.
    pub seen_seconds: f64,
    /// The state of each plugin file, as reported by the runner.
    pub plugins: serde_json::Value,
    /// The digests of its loaded plugin files.
    pub digests: Vec<String>,
}

/// One handler in one version, and where it is loaded.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct HandlerRow {
    /// The handler's description from the plugin.
    pub info: HandlerInfo,
    /// sha256 of the plugin file.
    pub digest: String,
    /// The file's name.
    pub file: String,
    /// The plugin's name and version.
    pub plugin: String,
    /// The runners that have loaded it.
    pub runners: Vec<RunnerId>,
    /// When it was paused.
    pub paused_at: Option<Timestamp>,
}

/// Statistics of one handler in the last five minutes.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct HandlerStats {
    /// Its name.
    pub handler: String,
    /// Tasks completed.
    pub complete: i64,
    /// Tasks failed.
    pub failed: i64,
    /// Tasks cancelled.
    pub cancelled: i64,
    /// Median and 95th percentile of the time from due to start, in seconds: of a sample of
    /// about 10,000 tasks of all handlers, if more ended.
    pub wait_p50: f64,
    /// See `wait_p50`.
    pub wait_p95: f64,
    /// Median and 95th percentile of the time from start to end, in seconds.
    pub run_p50: f64,
    /// See `run_p50`.
    pub run_p95: f64,
}

/// Statistics of the whole queue.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Stats {
    /// Tasks that are not due yet.
    pub scheduled: i64,
    /// Tasks that are due.
    pub runnable: i64,
    /// `scheduled` is an estimate, because there are many.
    pub scheduled_is_estimate: bool,
    /// `runnable` is an estimate, because there are many.
    pub runnable_is_estimate: bool,
    /// Tasks that run.
    pub running: i64,
    /// Tasks that ended in each of the last five minutes, the oldest minute first.
    pub ended_per_minute: Vec<i64>,
    /// Per handler, the busiest first, at most 100.
    pub handlers: Vec<HandlerStats>,
}

/// The first queues by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueueList {
    /// At most 1,000.
    pub queues: Vec<QueueRow>,
    /// How many more there are: counted up to 10,000.
    pub more: u64,
}

impl Store {
    /// The queues of [`Store::queue_list`].
    pub async fn queues(&self) -> Result<Vec<QueueRow>, StoreError> {
        Ok(self.queue_list().await?.queues)
    }

    /// The first 1,000 queues by name that hold tasks, had a task end in the last hour, or are
    /// paused. Where many tasks wait, the number is an estimate from a sample, and marked as
    /// one; the sample may then miss a queue with few scheduled tasks among many of others.
    pub async fn queue_list(&self) -> Result<QueueList, StoreError> {
        let mut lease = self.lease(Role::General, "count the queues").await?;
        let (waiting, n_waiting) = waiting(&mut lease).await?;
        let rows = lease.query(sql!("queues"), &[&MOST_QUEUES]).await?;
        let n_active = rows.first().map_or(0, |row| row.get::<_, i64>("found"));
        let mut queues: BTreeMap<String, QueueRow> = BTreeMap::new();
        for row in &rows {
            let queue: String = row.get("queue");
            let entry = queues.entry(queue.clone()).or_default();
            *entry = QueueRow {
                queue,
                paused_at: row.get("paused_at"),
                running: row.get("running"),
                complete_hour: row.get("complete_hour"),
                failed_hour: row.get("failed_hour"),
                ..QueueRow::default()
            };
        }
        for waits in waiting {
            let entry = queues.entry(waits.queue.clone()).or_default();
            entry.queue = waits.queue;
            entry.scheduled = waits.scheduled;
            entry.runnable = waits.runnable;
            entry.scheduled_is_estimate = waits.scheduled_is_estimate;
            entry.runnable_is_estimate = waits.runnable_is_estimate;
            entry.oldest_runnable_seconds = waits.oldest_runnable_seconds;
        }
        let n_found = queues
            .len()
            .max(usize::try_from(n_waiting.max(n_active)).unwrap_or(0));
        let most = usize::try_from(MOST_QUEUES).unwrap_or(usize::MAX);
        let queues: Vec<QueueRow> = queues.into_values().take(most).collect();
        let more = (n_found - queues.len()) as u64;
        Ok(QueueList { queues, more })
    }

    /// All runners, including lost ones until they are rescued.
    pub async fn runners(&self) -> Result<Vec<RunnerRow>, StoreError> {
        let rows = self
            .run(Role::General, "list the runners", sql!("runners"), &[])
            .await?;
        Ok(rows
            .iter()
            .map(|row| RunnerRow {
                id: RunnerId(row.get("id")),
                name: row.get("name"),
                host: row.get("host"),
                pid: row.get("pid"),
                version: row.get("version"),
                state: row.get("state"),
                slots: row.get("slots"),
                busy: row.get("busy"),
                held: row.get("held"),
                queues: row.get("queues"),
                started_at: row.get("started_at"),
                seen_at: row.get("seen_at"),
                seen_seconds: row.get("seen_seconds"),
                plugins: serde_json::from_str(row.get("plugins")).unwrap_or_default(),
                digests: row.get("digests"),
            })
            .collect())
    }

    /// The handlers of live runners, by name.
    pub async fn handlers(&self) -> Result<Vec<HandlerRow>, StoreError> {
        let rows = self
            .run(Role::General, "list the handlers", sql!("handlers"), &[])
            .await?;
        rows.iter()
            .map(|row| {
                let info =
                    serde_json::from_str(row.get("info")).map_err(|error| StoreError::Fault {
                        verb: "list the handlers",
                        message: format!("read what a runner published: {error}"),
                    })?;
                Ok(HandlerRow {
                    info,
                    digest: row.get("digest"),
                    file: row.get("file"),
                    plugin: row.get("plugin"),
                    runners: row
                        .get::<_, Vec<i64>>("runners")
                        .into_iter()
                        .map(RunnerId)
                        .collect(),
                    paused_at: row.get("paused_at"),
                })
            })
            .collect()
    }

    /// Counts, throughput and times. As in [`Store::queues`], large counts are estimates.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        let mut lease = self.lease(Role::General, "count the tasks").await?;
        let waiting = total(&mut lease).await?;
        let running = lease.query(sql!("running_count"), &[]).await?;
        let ended = lease.query(sql!("stats_ended"), &[]).await?;
        let mut ended_per_minute = vec![0; MINUTES];
        let mut handlers: BTreeMap<String, HandlerStats> = BTreeMap::new();
        for row in &ended {
            let ago = usize::try_from(row.get::<_, i32>("ago")).unwrap_or(0);
            if let Some(minute) = (MINUTES - 1).checked_sub(ago) {
                ended_per_minute[minute] += row.get::<_, i64>("ended");
            }
            let handler: String = row.get("handler");
            let stats = handlers.entry(handler.clone()).or_default();
            stats.handler = handler;
            stats.complete += row.get::<_, i64>("complete");
            stats.failed += row.get::<_, i64>("failed");
            stats.cancelled += row.get::<_, i64>("cancelled");
        }
        let share = TIMED / ended_per_minute.iter().sum::<i64>().max(1) as f64;
        for row in &lease.query(sql!("stats_times"), &[&share]).await? {
            let times = |column: &str| {
                // NULL where no task of the handler has started.
                let times: Option<Vec<Option<f64>>> = row.get(column);
                let times = times.unwrap_or_default();
                let nth = |n: usize| times.get(n).copied().flatten().unwrap_or(0.0);
                (nth(0), nth(1))
            };
            if let Some(stats) = handlers.get_mut(row.get::<_, &str>("handler")) {
                (stats.wait_p50, stats.wait_p95) = times("wait");
                (stats.run_p50, stats.run_p95) = times("run");
            }
        }
        let mut handlers: Vec<HandlerStats> = handlers.into_values().collect();
        handlers.sort_by_key(|stats| -(stats.complete + stats.failed + stats.cancelled));
        handlers.truncate(MOST_HANDLERS);
        Ok(Stats {
            scheduled: waiting.scheduled,
            runnable: waiting.runnable,
            scheduled_is_estimate: waiting.scheduled_is_estimate,
            runnable_is_estimate: waiting.runnable_is_estimate,
            running: running[0].get("running"),
            ended_per_minute,
            handlers,
        })
    }

    /// Tasks that are due or running, counted up to `cap`: cheap at any queue depth.
    pub async fn demand(&self, cap: u32) -> Result<u64, StoreError> {
        let cap = i32::try_from(cap).unwrap_or(i32::MAX);
        let rows = self
            .run(Role::General, "count due tasks", sql!("demand"), &[&cap])
            .await?;
        Ok(rows[0].get::<_, i64>("demand").unsigned_abs())
    }
}
