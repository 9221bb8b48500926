//! What a run has left: everything that the checker judges.

use std::collections::BTreeSet;

use pgtq_tests::Sql;

use crate::workload::Kind;

/// A task that has ended: a row of history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct End {
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
    /// Seconds since an epoch of the database's.
    pub(crate) started: f64,
}

/// An attempt that did not end its task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Try {
    pub(crate) task: i64,
    pub(crate) claim: i64,
    pub(crate) runner: i64,
    pub(crate) kind: String,
    pub(crate) started: f64,
    pub(crate) ended: f64,
}

/// A runner that was killed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Death {
    pub(crate) at: f64,
    /// What it held: tasks with their claims.
    pub(crate) held: Vec<(i64, i64)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Acknowledged pushes.
    pub(crate) pushed: Vec<(i64, Kind)>,
    /// Tasks of pushes that were rolled back.
    pub(crate) undone: Vec<i64>,
    /// Tasks of pushes without an answer, and without a key to ask again.
    pub(crate) n_unknown: usize,
    pub(crate) ends: Vec<End>,
    pub(crate) tries: Vec<Try>,
    /// The task of each row that handlers have inserted.
    pub(crate) rows: Vec<i64>,
    /// Rows that are left in claims, popped, runnable, scheduled.
    pub(crate) left: [i64; 4],
    pub(crate) deaths: Vec<Death>,
    /// Runners that were killed, stopped or cut off for longer than their lease.
    pub(crate) excused: BTreeSet<i64>,
    /// What an observer has seen that must not be.
    pub(crate) seen: Vec<String>,
}

impl Facts {
    /// Reads what the database knows.
    pub(crate) fn read(&mut self, sql: &Sql) {
        let ends = sql.rows(
            "SELECT id, state, handler, attempts, crashes, coalesce(claim_id, 0), parent, key, error_kind,
                    coalesce(extract(epoch FROM started_at), 0), translate(result::text, '|', '/')
             FROM pgtq.history ORDER BY id",
        );
        self.ends = ends.iter().map(|row| end(row)).collect();
        let tries = sql.rows(
            "SELECT task_id, coalesce(claim_id, 0), coalesce(runner_id, 0), kind, coalesce(extract(epoch FROM started_at), 0),
                    extract(epoch FROM ended_at)
             FROM pgtq.attempts ORDER BY task_id, claim_id",
        );
        self.tries = tries.iter().map(|row| one_try(row)).collect();
        let rows = sql.rows("SELECT task FROM app.rows ORDER BY task");
        self.rows = rows.iter().map(|row| number(row)).collect();
        let places = ["claims", "popped", "runnable_tasks", "scheduled_tasks"];
        self.left = places.map(|place| sql.number(&format!("SELECT count(*) FROM pgtq.{place}")));
    }

    /// Seconds from the death of a runner until each task that it held was taken back.
    pub(crate) fn rescues(&self) -> Vec<f64> {
        self.since_death(|task, claim| {
            let mut tries = self.tries.iter();
            let taken = tries.find(|one| (one.task, one.claim) == (task, claim));
            taken.map(|one| one.ended)
        })
    }

    /// Seconds from the death of a runner until each task that it held started
    /// again: the time it waited behind others is in it.
    pub(crate) fn restarts(&self) -> Vec<f64> {
        self.since_death(|task, claim| {
            let ends = self.ends.iter().filter(|end| end.id == task);
            let tries = self.tries.iter().filter(|one| one.task == task);
            let starts = ends.map(|end| (end.claim, end.started));
            let starts = starts.chain(tries.map(|one| (one.claim, one.started)));
            let later = starts.filter(|(later, _)| *later > claim);
            later.map(|(_, started)| started).min_by(f64::total_cmp)
        })
    }

    fn since_death(&self, when: impl Fn(i64, i64) -> Option<f64>) -> Vec<f64> {
        let deaths = self.deaths.iter();
        let held = deaths.flat_map(|death| death.held.iter().map(move |held| (death.at, held)));
        let mut seconds: Vec<f64> = held
            .filter_map(|(at, (task, claim))| Some(when(*task, *claim)? - at))
            .collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    }
}

fn end(row: &str) -> End {
    let cells: Vec<&str> = row.split('|').collect();
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    End {
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

fn one_try(row: &str) -> Try {
    let cells: Vec<&str> = row.split('|').collect();
    Try {
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
        .unwrap_or_else(|_| panic!("{text:?} is no number"))
}
