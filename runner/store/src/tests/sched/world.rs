//! The contents of the database as plain values that can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use serde::Deserialize;

/// One task, in any state.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Task {
    pub(super) id: i64,
    /// `scheduled`, `runnable`, `running`, `complete`, `failed` or `cancelled`.
    pub(super) place: String,
    pub(super) queue: String,
    pub(super) handler: String,
    pub(super) priority: i32,
    pub(super) attempts: i32,
    pub(super) crashes: i32,
    pub(super) retries: Option<i32>,
    pub(super) key: Option<String>,
    pub(super) parent: Option<i64>,
    pub(super) args: String,
    /// The claim that it runs or ended under.
    pub(super) claim: Option<i64>,
    pub(super) error: Option<String>,
    /// Scheduled and due.
    pub(super) due: bool,
    /// How many times everything was made a month older since it ended.
    pub(super) age: i32,
}

impl Task {
    pub(super) fn is(&self, place: &str) -> bool {
        self.place == place
    }

    pub(super) fn is_final(&self) -> bool {
        ["complete", "failed", "cancelled"].contains(&self.place.as_str())
    }
}

/// A batch that a runner holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Claim {
    id: i64,
    pub(super) runner: i64,
    pub(super) solo: bool,
    pub(super) tasks: Vec<i64>,
    pub(super) age: i32,
}

impl Claim {
    pub(super) fn new(id: i64, runner: i64, solo: bool, tasks: Vec<i64>) -> Self {
        Claim {
            id,
            runner,
            solo,
            tasks,
            age: 0,
        }
    }
}

/// A row of `attempts`: an outcome that did not finish its task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Note {
    pub(super) task: i64,
    pub(super) claim: Option<i64>,
    pub(super) kind: String,
    pub(super) number: i32,
    pub(super) age: i32,
}

#[derive(Deserialize)]
struct Rows {
    tasks: Vec<Task>,
    claims: Vec<Claim>,
    asked: Vec<(i64, i64)>,
    keys: Vec<(String, String, i64, bool)>,
    runners: Vec<(i64, bool)>,
    paused: Vec<String>,
    notes: Vec<Note>,
    reports: Vec<(i64, i64, i64, bool)>,
    judged: Vec<i64>,
}

/// The whole queue at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct World {
    pub(super) tasks: BTreeMap<i64, Task>,
    pub(super) claims: BTreeMap<i64, Claim>,
    /// Cancellations of (claim, task).
    pub(super) asked: BTreeSet<(i64, i64)>,
    /// The task of each queue and key.
    pub(super) keys: BTreeMap<(String, String), i64>,
    /// Expired keys: they count only while their task waits or runs.
    pub(super) expired_keys: BTreeSet<(String, String)>,
    /// Each runner, and whether its lease has expired.
    pub(super) runners: BTreeMap<i64, bool>,
    /// `queue:name` or `handler:name`.
    pub(super) paused: BTreeSet<String>,
    /// The number of copies of each row of `attempts`.
    pub(super) notes: BTreeMap<Note, usize>,
    /// Crash reports: task, claim, runner, and whether it was the only suspect.
    pub(super) reports: BTreeSet<(i64, i64, i64, bool)>,
    /// Runners whose possibly running tasks a rescue has recorded.
    pub(super) judged: BTreeSet<i64>,
}

/// One statement, so one snapshot.
const LOOK: &str = "SELECT json_build_object(
    'tasks', (SELECT coalesce(json_agg(t), '[]') FROM (
        SELECT id, 'scheduled' AS place, queue, handler, priority, attempts, crashes, retries, key, parent, args::text AS args,
               NULL::bigint AS claim, NULL::text AS error, run_at <= now() AS due, 0 AS age FROM scheduled_tasks
        UNION ALL SELECT id, 'runnable', queue, handler, priority, attempts, crashes, retries, key, parent, args::text, NULL, NULL, false, 0
        FROM runnable_tasks
        UNION ALL SELECT id, 'running', queue, handler, priority, attempts, crashes, retries, key, parent, args::text, claim_id, NULL, false, 0
        FROM in_flight
        UNION ALL SELECT id, state, queue, handler, priority, attempts, crashes, retries, key, parent, args::text, claim_id, error_kind, false,
               greatest(0, floor(extract(epoch FROM now() - finished_at) / 2592000))::int FROM history) AS t),
    'claims', (SELECT coalesce(json_agg(c), '[]') FROM (
        SELECT id, runner_id AS runner, solo, task_ids AS tasks,
               greatest(0, floor(extract(epoch FROM now() - claimed_at) / 2592000))::int AS age FROM claims) AS c),
    'asked', (SELECT coalesce(json_agg(json_build_array(claim_id, task_id)), '[]') FROM cancellations),
    'keys', (SELECT coalesce(json_agg(json_build_array(queue, key, task_id, expires_at <= now())), '[]') FROM keys),
    'runners', (SELECT coalesce(json_agg(json_build_array(id, expires_at < now())), '[]') FROM runners),
    'reports', (SELECT coalesce(json_agg(json_build_array(task_id, claim_id, runner_id, solo)), '[]') FROM crash_reports),
    'judged', (SELECT coalesce(json_agg(id), '[]') FROM runners WHERE judged),
    'paused', (SELECT coalesce(json_agg(kind || ':' || name), '[]') FROM pauses),
    'notes', (SELECT coalesce(json_agg(a), '[]') FROM (
        SELECT task_id AS task, nullif(claim_id, 0) AS claim, kind, number,
               greatest(0, floor(extract(epoch FROM now() - ended_at) / 2592000))::int AS age FROM attempts) AS a)
)::text";

impl World {
    /// Reads the database. An error: a task is in two states.
    pub(super) async fn look(
        client: &crate::tests::sched::flight::Observer,
    ) -> Result<World, String> {
        let text = client.text(LOOK).await;
        let rows: Rows = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let mut world = World {
            claims: rows.claims.into_iter().map(|c| (c.id, c)).collect(),
            asked: rows.asked.into_iter().collect(),
            expired_keys: rows
                .keys
                .iter()
                .filter(|(.., expired)| *expired)
                .map(|(q, k, ..)| (q.clone(), k.clone()))
                .collect(),
            keys: rows
                .keys
                .into_iter()
                .map(|(q, k, id, _)| ((q, k), id))
                .collect(),
            runners: rows.runners.into_iter().collect(),
            paused: rows.paused.into_iter().collect(),
            reports: rows.reports.into_iter().collect(),
            judged: rows.judged.into_iter().collect(),
            ..World::default()
        };
        for note in rows.notes {
            *world.notes.entry(note).or_default() += 1;
        }
        for task in rows.tasks {
            if let Some(other) = world.tasks.insert(task.id, task.clone()) {
                return Err(format!("a task is in two places:\n  {other:?}\n  {task:?}"));
            }
        }
        Ok(world)
    }

    pub(super) fn runs_under(&self, claim: i64, task: i64) -> bool {
        self.tasks
            .get(&task)
            .is_some_and(|t| t.is("running") && t.claim == Some(claim))
    }

    /// The unfinished tasks of a claim.
    pub(super) fn running_in(&self, claim: i64) -> Vec<i64> {
        let all = self.claims.get(&claim).map_or(&[][..], |c| &c.tasks);
        all.iter()
            .copied()
            .filter(|task| self.runs_under(claim, *task))
            .collect()
    }

    pub(super) fn claims_of(&self, runner: i64) -> Vec<i64> {
        let all = self.claims.iter();
        all.filter(|(_, c)| c.runner == runner)
            .map(|(id, _)| *id)
            .collect()
    }

    /// The differences between the expected and the actual state, one line each.
    pub(super) fn differences(&self, seen: &World) -> Vec<String> {
        let mut lines = Vec::new();
        maps("task", &self.tasks, &seen.tasks, &mut lines);
        maps("claim", &self.claims, &seen.claims, &mut lines);
        maps("key", &self.keys, &seen.keys, &mut lines);
        maps("runner", &self.runners, &seen.runners, &mut lines);
        maps("attempt", &self.notes, &seen.notes, &mut lines);
        sets("cancellation", &self.asked, &seen.asked, &mut lines);
        sets("crash report", &self.reports, &seen.reports, &mut lines);
        sets("pause", &self.paused, &seen.paused, &mut lines);
        lines
    }
}

fn maps<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    wanted: &BTreeMap<K, V>,
    seen: &BTreeMap<K, V>,
    lines: &mut Vec<String>,
) {
    let keys: BTreeSet<&K> = wanted.keys().chain(seen.keys()).collect();
    for key in keys {
        let (should, is) = (wanted.get(key), seen.get(key));
        if should != is {
            lines.push(format!(
                "{what} {key:?}\n    should be {should:?}\n    is        {is:?}"
            ));
        }
    }
}

fn sets<K: Ord + Debug>(
    what: &str,
    wanted: &BTreeSet<K>,
    seen: &BTreeSet<K>,
    lines: &mut Vec<String>,
) {
    for one in wanted.symmetric_difference(seen) {
        let word = if seen.contains(one) {
            "should not be there"
        } else {
            "is missing"
        };
        lines.push(format!("{what} {one:?} {word}"));
    }
}
