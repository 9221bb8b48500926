//! An observer that samples the database directly, and compares the samples.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use pgtq_tests::Sql;

use crate::cluster::pause;

/// All unfinished and recently finished tasks, in one snapshot.
const SAMPLE: &str = "
    SELECT id, state, coalesce(claim_id, 0) FROM pgtq.scheduled
    UNION ALL SELECT id, state, coalesce(claim_id, 0) FROM pgtq.runnable
    UNION ALL SELECT id, state, coalesce(claim_id, 0) FROM pgtq.running
    UNION ALL SELECT id, state, coalesce(claim_id, 0) FROM pgtq.history WHERE finished_at > now() - interval '10 seconds'";

/// The last state of each task.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    last: BTreeMap<i64, (String, i64)>,
    /// Inconsistencies between samples.
    pub(crate) problems: Vec<String>,
    pub(crate) n_samples: usize,
}

impl Watch {
    /// Compares a sample (task, state, claim) with the previous ones.
    pub(crate) fn compare(&mut self, sample: &[(i64, &str, i64)]) {
        self.n_samples += 1;
        let mut ids = BTreeSet::new();
        for (id, state, claim) in sample {
            if !ids.insert(*id) {
                self.problems.push(format!("task {id} was in two places"));
            }
            let now = ((*state).to_owned(), *claim);
            if let Some(before) = self.last.get(id) {
                let is_final = |state: &str| ["complete", "failed", "cancelled"].contains(&state);
                let changed = is_final(&before.0) && *before != now;
                // Waiting tasks have no claim.
                let older = *claim != 0 && *claim < before.1;
                if changed || older {
                    self.problems
                        .push(format!("task {id} was {before:?} and then {now:?}"));
                }
            }
            let newest = self.last.get(id).map_or(0, |before| before.1);
            self.last.insert(*id, (now.0, now.1.max(newest)));
        }
    }

    /// Samples until `stop` is set.
    pub(crate) fn start(url: &str, stop: &Arc<AtomicBool>) -> JoinHandle<Watch> {
        let (url, stop) = (url.to_owned(), Arc::clone(stop));
        thread::spawn(move || {
            let mut watch = Watch::default();
            while !stop.load(Relaxed) {
                if let Ok(sql) = Sql::try_connect(&url) {
                    while !stop.load(Relaxed) {
                        let Ok(rows) = sql.try_rows(SAMPLE) else {
                            break;
                        };
                        watch.compare(&parse(&rows));
                        pause(100);
                    }
                }
                pause(100);
            }
            watch
        })
    }
}

fn parse(rows: &[String]) -> Vec<(i64, &str, i64)> {
    let cells = rows.iter().map(|row| {
        let mut cells = row.split('|');
        let mut next = || cells.next().unwrap_or_default();
        let (id, state, claim) = (next(), next(), next());
        (id.parse().unwrap_or(0), state, claim.parse().unwrap_or(0))
    });
    cells.collect()
}

#[test]
fn changes_of_final_tasks_are_detected() {
    let see = |samples: &[&[(i64, &str, i64)]]| {
        let mut watch = Watch::default();
        samples.iter().for_each(|sample| watch.compare(sample));
        watch.problems.len()
    };
    let good: [&[_]; 4] = [
        &[(1, "runnable", 0), (2, "running", 7)],
        &[(1, "running", 8), (2, "scheduled", 0)],
        &[(1, "complete", 8), (2, "running", 9)],
        &[(1, "complete", 8), (2, "failed", 9)],
    ];
    assert_eq!(see(&good), 0);
    assert_eq!(see(&[&[(1, "complete", 8)], &[(1, "running", 9)]]), 1);
    assert_eq!(see(&[&[(1, "complete", 8)], &[(1, "complete", 9)]]), 1);
    assert_eq!(
        see(&[
            &[(1, "running", 8)],
            &[(1, "runnable", 0)],
            &[(1, "failed", 7)]
        ]),
        1
    );
    assert_eq!(see(&[&[(1, "running", 8), (1, "complete", 8)]]), 1);
}
