//! The facts of a run, input of the checker.

use std::collections::BTreeSet;

use pgtq_tests::Sql;

use crate::workload::Kind;

/// The outcome of a task: a row of `history`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) id: i64,
    pub(crate) state: String,
    pub(crate) handler: String,
    pub(crate) attempts: i32,
    pub(crate) crashes: i32,
    pub(crate) claim: i64,
    pub(crate) parent: Option<i64>,
    pub(crate) key: Option<String>,
    pub(crate) error: String,
    pub(crate) result: String,
    /// In seconds of the database's clock.
    pub(crate) started: f64,
}

/// An attempt that did not finish its task: a row of `attempts`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attempt {
    pub(crate) task: i64,
    pub(crate) claim: i64,
    pub(crate) runner: i64,
    pub(crate) kind: String,
    pub(crate) started: f64,
    pub(crate) ended: f64,
}

/// A killed runner.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kill {
    pub(crate) at: f64,
    /// The tasks that it held, with their claims.
    pub(crate) held: Vec<(i64, i64)>,
}

/// The facts of a run.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Acknowledged pushes.
    pub(crate) pushed: Vec<(i64, Kind)>,
    /// Tasks of rolled back pushes.
    pub(crate) undone: Vec<i64>,
    /// The number of tasks pushed without a key whose response was lost.
    pub(crate) n_unknown: usize,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) attempts: Vec<Attempt>,
    /// The task of each row inserted by handlers.
    pub(crate) rows: Vec<i64>,
    /// The number of remaining rows in claims, popped, runnable, scheduled.
    pub(crate) left: [i64; 4],
    pub(crate) kills: Vec<Kill>,
    /// Runners that were killed, or stopped or disconnected for longer than their lease.
    pub(crate) excused: BTreeSet<i64>,
    /// Problems found by the observer.
    pub(crate) seen: Vec<String>,
}

impl Facts {
    /// Reads the facts from the database.
    pub(crate) fn read(&mut self, sql: &Sql) {
        let outcomes = sql.rows(
            "SELECT id, state, handler, attempts, crashes, coalesce(claim_id, 0), parent, key, error_kind,
                    coalesce(extract(epoch FROM started_at), 0), translate(result::text, '|', '/')
             FROM pgtq.history ORDER BY id",
        );
        self.outcomes = outcomes.iter().map(|row| end(row)).collect();
        let attempts = sql.rows(
            "SELECT task_id, coalesce(claim_id, 0), coalesce(runner_id, 0), kind, coalesce(extract(epoch FROM started_at), 0),
                    extract(epoch FROM ended_at)
             FROM pgtq.attempts ORDER BY task_id, claim_id",
        );
        self.attempts = attempts.iter().map(|row| attempt(row)).collect();
        let rows = sql.rows("SELECT task FROM app.rows ORDER BY task");
        self.rows = rows.iter().map(|row| number(row)).collect();
        let places = ["claims", "popped", "runnable_tasks", "scheduled_tasks"];
        self.left = places.map(|place| sql.number(&format!("SELECT count(*) FROM pgtq.{place}")));
    }

    /// Seconds from the kill of a runner until the rescue of each of its tasks.
    pub(crate) fn rescues(&self) -> Vec<f64> {
        self.since_kill(|task, claim| {
            let mut attempts = self.attempts.iter();
            let taken = attempts.find(|one| (one.task, one.claim) == (task, claim));
            taken.map(|one| one.ended)
        })
    }

    /// Seconds from the kill of a runner until the next start of each of its tasks, with
    /// the time in the queue.
    pub(crate) fn restarts(&self) -> Vec<f64> {
        self.since_kill(|task, claim| {
            let outcomes = self.outcomes.iter().filter(|end| end.id == task);
            let attempts = self.attempts.iter().filter(|one| one.task == task);
            let starts = outcomes.map(|end| (end.claim, end.started));
            let starts = starts.chain(attempts.map(|one| (one.claim, one.started)));
            let later = starts.filter(|(later, _)| *later > claim);
            later.map(|(_, started)| started).min_by(f64::total_cmp)
        })
    }

    fn since_kill(&self, when: impl Fn(i64, i64) -> Option<f64>) -> Vec<f64> {
        let kills = self.kills.iter();
        let held = kills.flat_map(|kill| kill.held.iter().map(move |held| (kill.at, held)));
        let mut seconds: Vec<f64> = held
            .filter_map(|(at, (task, claim))| Some(when(*task, *claim)? - at))
            .collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    }
}

fn end(row: &str) -> Outcome {
    let cells: Vec<&str> = row.split('|').collect();
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Outcome {
        id: number(cells[0]),
        state: cells[1].to_owned(),
        handler: cells[2].to_owned(),
        attempts: number(cells[3]) as i32,
        crashes: number(cells[4]) as i32,
        claim: number(cells[5]),
        parent: some(cells[6]).map(|id| number(&id)),
        key: some(cells[7]),
        error: cells[8].to_owned(),
        started: cells[9].parse().expect("seconds"),
        result: cells[10].to_owned(),
    }
}

fn attempt(row: &str) -> Attempt {
    let cells: Vec<&str> = row.split('|').collect();
    Attempt {
        task: number(cells[0]),
        claim: number(cells[1]),
        runner: number(cells[2]),
        kind: cells[3].to_owned(),
        started: cells[4].parse().expect("seconds"),
        ended: cells[5].parse().expect("seconds"),
    }
}

fn number(text: &str) -> i64 {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is not a number"))
}
