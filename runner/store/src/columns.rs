//! Outcomes as arrays, one array per column.

use std::borrow::Cow;
use std::time::Instant;

use tokio_postgres::types::ToSql;

use super::Ending;
use super::carried::Carried;
use super::timestamp::DbTimestamp;
use pgtq_task::{Failure, LogLine, Transition};

type Param<'a> = &'a (dyn ToSql + Sync);

/// The columns of all outcomes.
pub(super) struct Common<'a> {
    pub(super) carried: Carried<'a>,
    pub(super) claim_ids: Vec<i64>,
    pub(super) ids: Vec<i64>,
    pub(super) error_codes: Vec<Option<Cow<'a, str>>>,
    pub(super) error_messages: Vec<Option<Cow<'a, str>>>,
    pub(super) error_details: Vec<Option<&'a str>>,
    pub(super) backtraces: Vec<Option<String>>,
    pub(super) logs: Vec<Option<String>>,
    pub(super) logs_dropped: Vec<i64>,
    pub(super) attempts: Vec<i32>,
    pub(super) crashes: Vec<i32>,
    pub(super) due_at: Vec<DbTimestamp>,
    pub(super) since_start: Vec<f64>,
    pub(super) since_end: Vec<f64>,
    pub(super) fuel: Vec<i64>,
    pub(super) peak_memory: Vec<i64>,
    pub(super) wall_us: Vec<i64>,
    pub(super) digests: Vec<Option<&'a [u8]>>,
}

/// The parameters of `finish_final.sql`, up to the claims.
pub(super) struct FinalColumns<'a> {
    pub(super) common: Common<'a>,
    pub(super) states: Vec<&'a str>,
    pub(super) results: Vec<Option<&'a str>>,
    pub(super) error_kinds: Vec<Option<&'a str>>,
}

/// The parameters of `finish_return.sql`, up to the claims.
pub(super) struct ReturnColumns<'a> {
    common: Common<'a>,
    kinds: Vec<&'a str>,
    numbers: Vec<i32>,
    delays: Vec<Option<f64>>,
}

impl<'a> Common<'a> {
    fn new(endings: &[&'a Ending]) -> Self {
        let failures: Vec<Option<&'a Failure>> =
            endings.iter().map(|e| failure(&e.transition)).collect();
        fn each<'a, T>(endings: &[&'a Ending], field: impl Fn(&'a Ending) -> T) -> Vec<T> {
            endings.iter().map(|ending| field(ending)).collect()
        }
        // One moment for both: an attempt does not end before it started.
        let now = Instant::now();
        Common {
            carried: Carried::new(endings),
            claim_ids: each(endings, |e| e.claim.0),
            ids: each(endings, |e| e.task.id.0),
            error_codes: failures
                .iter()
                .map(|f| f.filter(|f| !f.code.is_empty()).map(|f| clean(&f.code)))
                .collect(),
            error_messages: each(endings, |e| message(&e.transition).map(clean)),
            error_details: failures
                .iter()
                .map(|f| f.and_then(|f| f.details.as_deref()))
                .collect(),
            backtraces: failures
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
            digests: each(endings, |e| e.record.digest.as_ref().map(|d| &d.0[..])),
        }
    }
}

impl Common<'_> {
    /// What an attempt left, in the order that both statements have.
    fn outcome(&self) -> [Param<'_>; 15] {
        [
            &self.error_codes,
            &self.error_messages,
            &self.error_details,
            &self.backtraces,
            &self.logs,
            &self.logs_dropped,
            &self.attempts,
            &self.crashes,
            &self.due_at,
            &self.since_start,
            &self.since_end,
            &self.fuel,
            &self.peak_memory,
            &self.wall_us,
            &self.digests,
        ]
    }
}

impl<'a> FinalColumns<'a> {
    pub(super) fn new(endings: &[&'a Ending]) -> Self {
        FinalColumns {
            common: Common::new(endings),
            states: endings
                .iter()
                .map(|e| e.transition.state().as_str())
                .collect(),
            results: endings
                .iter()
                .map(|e| match &e.transition {
                    Transition::Complete { result } => Some(result.as_str()),
                    _ => None,
                })
                .collect(),
            error_kinds: endings
                .iter()
                .map(|e| failure(&e.transition).map(|f| f.kind.as_str()))
                .collect(),
        }
    }

    pub(super) fn params<'p>(&'p self, runner: &'p i64) -> Vec<Param<'p>> {
        let c = &self.common;
        let mut params = with_carried(
            runner,
            c,
            &[
                &c.claim_ids,
                &c.ids,
                &self.states,
                &self.results,
                &self.error_kinds,
            ],
        );
        params.extend(c.outcome());
        params
    }
}

impl FinalColumns<'_> {
    /// The parameters of `attempt_complete.sql`, up to the ticket: a success
    /// has no error.
    pub(super) fn success<'p>(&'p self, runner: &'p i64) -> Vec<Param<'p>> {
        let c = &self.common;
        with_carried(
            runner,
            c,
            &[
                &c.claim_ids,
                &c.ids,
                &self.results,
                &c.logs,
                &c.logs_dropped,
                &c.attempts,
                &c.crashes,
                &c.due_at,
                &c.since_start,
                &c.since_end,
                &c.fuel,
                &c.peak_memory,
                &c.wall_us,
                &c.digests,
            ],
        )
    }
}

impl<'a> ReturnColumns<'a> {
    pub(super) fn new(endings: &[&'a Ending]) -> Self {
        ReturnColumns {
            common: Common::new(endings),
            kinds: endings
                .iter()
                .map(|e| match &e.transition {
                    Transition::Snooze { .. } => "snooze",
                    Transition::Release | Transition::Defer { .. } => "release",
                    other => failure(other).map_or("error", |f| f.kind.as_str()),
                })
                .collect(),
            numbers: endings
                .iter()
                .map(|e| small(e.task.attempts).saturating_add(1))
                .collect(),
            delays: endings
                .iter()
                .map(|e| match &e.transition {
                    Transition::Retry { delay, .. }
                    | Transition::Snooze { delay }
                    | Transition::Defer { delay } => {
                        // A century; Postgres's timestamps do not reach far beyond it.
                        Some(delay.as_secs_f64().min(3.2e9))
                    }
                    _ => None,
                })
                .collect(),
        }
    }

    pub(super) fn params<'p>(&'p self, runner: &'p i64) -> Vec<Param<'p>> {
        let c = &self.common;
        let mut params = with_carried(runner, c, &[&c.claim_ids, &c.ids, &self.kinds]);
        params.extend(c.outcome());
        params.push(&self.numbers);
        params.push(&self.delays);
        params
    }
}

/// The runner, the carried columns, and the others.
fn with_carried<'p>(
    runner: &'p i64,
    common: &'p Common<'_>,
    others: &[Param<'p>],
) -> Vec<Param<'p>> {
    let runner: Param<'p> = runner;
    let mut params = vec![runner];
    params.extend(common.carried.arrays());
    params.extend(others);
    params
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
fn attempts_after(ending: &Ending) -> i32 {
    let before = small(ending.task.attempts);
    match ending.transition {
        Transition::Snooze { .. } | Transition::Release | Transition::Defer { .. } => before,
        _ => before.saturating_add(1),
    }
}

/// An attempt that returned has shown that the task does not crash the runner.
fn crashes_after(ending: &Ending) -> i32 {
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
