//! Live log lines: forwarded by the runner while an attempt runs, and read by operators.
//!
//! These rows are informational only. The authoritative log is the one stored with the outcome.

use std::ops::Range;
use std::time::Duration;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::sql::sql;
use pgtq_task::{ClaimId, LogLevel, LogLine, RunnerId, TaskId};

/// Maximum time that lines of crashed runners' attempts are kept.
const LEFTOVERS: Duration = Duration::from_secs(24 * 3600);
/// Minimum, however short the retention is.
const LEFTOVERS_LEAST: Duration = Duration::from_secs(3600);

/// New lines of one attempt.
#[derive(Debug, Clone)]
pub struct LiveLog {
    /// Its claim.
    pub claim: ClaimId,
    /// Its task.
    pub task: TaskId,
    /// Lines with their numbers, counted from 1 in each attempt.
    pub lines: Vec<(u64, LogLine)>,
    /// Numbers that were written before and must be removed: the log is over its limit.
    pub dropped: Range<u64>,
    /// Milliseconds since the attempt started.
    pub now_ms: u64,
}

/// One line, as a reader gets it.
#[derive(Debug, Clone)]
pub struct LiveLine {
    /// The attempt's claim.
    pub claim: ClaimId,
    /// The attempt's number, 1 for the first.
    pub attempt: i32,
    /// The line's number in its attempt. A gap stands for dropped lines.
    pub number: u64,
    /// The line.
    pub line: LogLine,
}

impl Store {
    /// Forwards lines, all in one statement. Lines of a claim that is gone, or is not the
    /// runner's, are ignored; so are lines that exist already, so the same lines may be
    /// forwarded again after an error.
    pub async fn stream_logs(&self, runner: RunnerId, logs: &[LiveLog]) -> Result<(), StoreError> {
        let (claims, tasks) = keys(logs.iter().map(|log| (log.claim, log.task)));
        let from: Vec<i64> = logs.iter().map(|log| big(log.dropped.start)).collect();
        let below: Vec<i64> = logs.iter().map(|log| big(log.dropped.end)).collect();
        let lines: Vec<(i64, u64, &LiveLog, &LogLine)> = (1..)
            .zip(logs)
            .flat_map(|(ordinal, log)| {
                let of = move |(number, line)| (ordinal, number, log, line);
                log.lines.iter().map(|(n, line)| (*n, line)).map(of)
            })
            .collect();
        let ordinals: Vec<i64> = lines.iter().map(|(ordinal, ..)| *ordinal).collect();
        let numbers: Vec<i64> = lines.iter().map(|(_, number, ..)| big(*number)).collect();
        let ages: Vec<i64> = lines
            .iter()
            .map(|(.., log, line)| big(log.now_ms.saturating_sub(line.at_ms)))
            .collect();
        let at_ms: Vec<i64> = lines.iter().map(|(.., line)| big(line.at_ms)).collect();
        let levels: Vec<&str> = lines.iter().map(|(.., line)| line.level.as_str()).collect();
        let messages: Vec<&str> = lines
            .iter()
            .map(|(.., line)| line.message.as_str())
            .collect();
        // Valid JSON, but Postgres's text operators reject it.
        let fields: Vec<Option<String>> = lines
            .iter()
            .map(|(.., line)| line.fields.as_ref())
            .map(|fields| fields.map(|json| json.get().replace("\\u0000", "\\ufffd")))
            .collect();
        self.run(
            Role::Live,
            "forward log lines",
            sql!("stream_logs"),
            &[
                &runner.0, &claims, &tasks, &from, &below, &ordinals, &numbers, &ages, &at_ms,
                &levels, &messages, &fields,
            ],
        )
        .await?;
        Ok(())
    }

    /// Deletes the lines of attempts whose log is stored by now.
    pub async fn unstream_logs(&self, ended: &[(ClaimId, TaskId)]) -> Result<(), StoreError> {
        let (claims, tasks) = keys(ended.iter().copied());
        self.run(
            Role::Live,
            "remove log lines",
            sql!("unstream_logs"),
            &[&claims, &tasks],
        )
        .await?;
        Ok(())
    }

    /// The lines of a task's running attempts, and of attempts whose runner crashed, oldest
    /// first, after the line with this number of this claim. Read them before [`Store::task`]:
    /// lines deleted here are stored there by then.
    pub async fn live_logs(
        &self,
        task: TaskId,
        after: (ClaimId, u64),
    ) -> Result<Vec<LiveLine>, StoreError> {
        let (claim, number) = (after.0.0, big(after.1));
        let rows = self
            .run(
                Role::General,
                "read log lines",
                sql!("live_logs"),
                &[&task.0, &claim, &number],
            )
            .await?;
        Ok(rows.iter().map(live_line).collect())
    }

    /// Deletes the old lines of crashed runners.
    pub(crate) async fn prune_log_lines(&self, retention: Duration) -> Result<u64, StoreError> {
        let age = retention.clamp(LEFTOVERS_LEAST, LEFTOVERS).as_secs_f64();
        let rows = self
            .run(
                Role::Bulk,
                "prune log lines",
                sql!("prune_log_lines"),
                &[&age],
            )
            .await?;
        Ok(rows[0].get::<_, i64>("deleted").unsigned_abs())
    }
}

fn live_line(row: &tokio_postgres::Row) -> LiveLine {
    let fields = row.get::<_, Option<String>>("fields");
    LiveLine {
        claim: ClaimId(row.get("claim_id")),
        attempt: row.get("attempt"),
        number: row.get::<_, i64>("seq").unsigned_abs(),
        line: LogLine {
            at_ms: row.get::<_, i64>("at_ms").unsigned_abs(),
            level: LogLevel::parse(row.get("level")).unwrap_or(LogLevel::Info),
            message: row.get("message"),
            fields: fields.and_then(|text| serde_json::value::RawValue::from_string(text).ok()),
            dropped: None,
        },
    }
}

fn keys(attempts: impl Iterator<Item = (ClaimId, TaskId)>) -> (Vec<i64>, Vec<i64>) {
    attempts.map(|(claim, task)| (claim.0, task.0)).unzip()
}

fn big(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
