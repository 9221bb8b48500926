//! The outcomes of a flush as arrays, one array per column.

use std::borrow::Cow;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::types::ToSql;

use crate::sql::json::Json;
use crate::sql::timestamp::DbTimestamp;
use crate::verbs::outcome_record::OutcomeRecord;
use pgtq_task::{Failure, LogLine, Transition};

/// A bound value.
pub(crate) type Param<'a> = &'a (dyn ToSql + Sync);

/// The bound values of all outcomes, by the names in the table of columns.
pub(crate) struct Outcomes<'a> {
    pub(crate) queue: Vec<&'a str>,
    pub(crate) handler: Vec<&'a str>,
    pub(crate) priority: Vec<i32>,
    pub(crate) retries: Vec<Option<i32>>,
    pub(crate) pushed_at: Vec<DbTimestamp>,
    pub(crate) key: Vec<Option<&'a str>>,
    pub(crate) parent: Vec<Option<i64>>,
    /// `None` when no task has traits, which is the usual case.
    pub(crate) traits: Option<Vec<Option<Json<'a>>>>,
    pub(crate) args: Vec<Json<'a>>,
    pub(crate) claim_id: Vec<i64>,
    pub(crate) id: Vec<i64>,
    pub(crate) state: Vec<&'a str>,
    pub(crate) result: Vec<Option<&'a str>>,
    pub(crate) error_kind: Vec<Option<&'a str>>,
    pub(crate) error_code: Vec<Option<Cow<'a, str>>>,
    pub(crate) error_message: Vec<Option<Cow<'a, str>>>,
    pub(crate) error_details: Vec<Option<&'a str>>,
    /// Lines, joined.
    pub(crate) backtrace: Vec<Option<String>>,
    pub(crate) logs: Vec<Option<String>>,
    pub(crate) logs_dropped: Vec<i64>,
    pub(crate) attempts: Vec<i32>,
    pub(crate) crashes: Vec<i32>,
    pub(crate) due_at: Vec<DbTimestamp>,
    pub(crate) since_start: Vec<f64>,
    pub(crate) since_end: Vec<f64>,
    pub(crate) fuel: Vec<i64>,
    pub(crate) peak_memory: Vec<i64>,
    pub(crate) wall_us: Vec<i64>,
    pub(crate) digest: Vec<Option<&'a [u8]>>,
}

/// What a task that returns to the queue has besides: `finish_return.sql`.
pub(crate) struct Returns<'a> {
    pub(crate) kinds: Vec<&'a str>,
    pub(crate) numbers: Vec<i32>,
    pub(crate) delays: Vec<Option<f64>>,
}

/// The stored values that are not the bound ones, for a copy.
pub(crate) struct Copied<'a> {
    pub(crate) outcomes: Outcomes<'a>,
    started: Vec<DbTimestamp>,
    finished: Vec<DbTimestamp>,
    backtraces: Vec<Option<Vec<String>>>,
}

impl<'a> Outcomes<'a> {
    pub(crate) fn new(endings: &[&'a OutcomeRecord]) -> Self {
        let failures: Vec<Option<&'a Failure>> =
            endings.iter().map(|e| failure(&e.transition)).collect();
        let has_traits = endings.iter().any(|ending| ending.task.traits.is_some());
        // One moment for both: an attempt does not end before it started.
        let now = Instant::now();
        Outcomes {
            queue: each(endings, |e| e.task.queue.as_str()),
            handler: each(endings, |e| e.task.handler.as_str()),
            priority: each(endings, |e| e.task.priority),
            retries: each(endings, |e| e.task.retries.map(|r| r.to_column())),
            pushed_at: each(endings, |e| DbTimestamp(e.task.pushed_at)),
            key: each(endings, |e| e.task.key.as_deref()),
            parent: each(endings, |e| e.task.parent.map(|id| id.0)),
            traits: has_traits.then(|| {
                each(endings, |e| {
                    e.task.traits.as_ref().map(|traits| Json(traits.as_str()))
                })
            }),
            args: each(endings, |e| Json(&e.task.args)),
            claim_id: each(endings, |e| e.claim.0),
            id: each(endings, |e| e.task.id.0),
            state: each(endings, |e| e.transition.state().as_str()),
            result: each(endings, |e| match &e.transition {
                Transition::Complete { result } => Some(result.as_str()),
                _ => None,
            }),
            error_kind: failures
                .iter()
                .map(|f| f.map(|f| f.kind.as_str()))
                .collect(),
            error_code: failures
                .iter()
                .map(|f| f.filter(|f| !f.code.is_empty()).map(|f| clean(&f.code)))
                .collect(),
            error_message: each(endings, |e| message(&e.transition).map(clean)),
            error_details: failures
                .iter()
                .map(|f| f.and_then(|f| f.details.as_deref()))
                .collect(),
            backtrace: failures
                .iter()
                .map(|f| {
                    f.filter(|f| !f.backtrace.is_empty())
                        .map(|f| clean(&f.backtrace.join("\n")).into_owned())
                })
                .collect(),
            logs: each(endings, |e| logs(&e.record.logs)),
            logs_dropped: each(endings, |e| big(e.record.logs_dropped)),
            attempts: each(endings, attempts_after),
            crashes: each(endings, crashes_after),
            due_at: each(endings, |e| DbTimestamp(e.task.due_at)),
            since_start: each(endings, |e| now.duration_since(e.started).as_secs_f64()),
            since_end: each(endings, |e| now.duration_since(e.ended).as_secs_f64()),
            fuel: each(endings, |e| big(e.record.usage.fuel)),
            peak_memory: each(endings, |e| big(e.record.usage.peak_memory)),
            wall_us: each(endings, |e| {
                i64::try_from(e.record.usage.wall.as_micros()).unwrap_or(i64::MAX)
            }),
            digest: each(endings, |e| e.record.digest.as_ref().map(|d| &d.0[..])),
        }
    }
}

impl<'a> Returns<'a> {
    pub(crate) fn new(endings: &[&'a OutcomeRecord]) -> Self {
        Returns {
            kinds: each(endings, |e| match &e.transition {
                Transition::Snooze { .. } => "snooze",
                Transition::Release | Transition::Defer { .. } => "release",
                other => failure(other).map_or("error", |f| f.kind.as_str()),
            }),
            numbers: each(endings, |e| small(e.task.attempts).saturating_add(1)),
            delays: each(endings, |e| match &e.transition {
                Transition::Retry { delay, .. }
                | Transition::Snooze { delay }
                | Transition::Defer { delay } => {
                    // A century; Postgres's timestamps do not reach far beyond it.
                    Some(delay.as_secs_f64().min(3.2e9))
                }
                _ => None,
            }),
        }
    }
}

impl<'a> Copied<'a> {
    /// `now` is the database's time.
    pub(crate) fn new(outcomes: Outcomes<'a>, now: Timestamp) -> Self {
        let ago = |seconds: &f64| {
            let ago = SignedDuration::try_from_secs_f64(*seconds).unwrap_or_default();
            DbTimestamp(now.checked_sub(ago).unwrap_or(now))
        };
        let lines = |text: &Option<String>| {
            let text = text.as_ref()?;
            Some(text.split('\n').map(str::to_owned).collect())
        };
        Copied {
            started: outcomes.since_start.iter().map(ago).collect(),
            finished: outcomes.since_end.iter().map(ago).collect(),
            backtraces: outcomes.backtrace.iter().map(lines).collect(),
            outcomes,
        }
    }

    pub(crate) fn traits(&self, n: usize) -> Param<'_> {
        match &self.outcomes.traits {
            Some(traits) => &traits[n],
            None => &None::<Json<'static>>,
        }
    }

    pub(crate) fn started_at(&self, n: usize) -> Param<'_> {
        &self.started[n]
    }

    pub(crate) fn finished_at(&self, n: usize) -> Param<'_> {
        &self.finished[n]
    }

    pub(crate) fn backtrace(&self, n: usize) -> Param<'_> {
        &self.backtraces[n]
    }
}

fn each<'a, T>(endings: &[&'a OutcomeRecord], field: impl Fn(&'a OutcomeRecord) -> T) -> Vec<T> {
    endings.iter().map(|ending| field(ending)).collect()
}

fn failure(transition: &Transition) -> Option<&Failure> {
    match transition {
        Transition::Fail { failure } | Transition::Retry { failure, .. } => Some(failure),
        _ => None,
    }
}

fn message(transition: &Transition) -> Option<&str> {
    match transition {
        Transition::Cancel { reason } => Some(reason),
        other => failure(other).map(|failure| failure.message.as_str()),
    }
}

/// Snoozed and released attempts are not counted; a cancelled one was begun.
fn attempts_after(ending: &OutcomeRecord) -> i32 {
    let before = small(ending.task.attempts);
    match ending.transition {
        Transition::Snooze { .. } | Transition::Release | Transition::Defer { .. } => before,
        _ => before.saturating_add(1),
    }
}

/// An attempt that returned has shown that the task does not crash the runner.
fn crashes_after(ending: &OutcomeRecord) -> i32 {
    match ending.transition {
        Transition::Release | Transition::Defer { .. } => small(ending.task.crashes),
        _ => 0,
    }
}

fn logs(lines: &[LogLine]) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    let text = serde_json::to_string(lines).expect("log lines are numbers and text");
    // Valid JSON, but Postgres's text operators reject it.
    Some(text.replace("\\u0000", "\\ufffd"))
}

/// The only place that makes text valid for Postgres: removes NUL characters.
fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

fn big(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn small(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
