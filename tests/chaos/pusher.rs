//! The pushers: one in transactions, one with keys through a proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use pgtq_tests::Sql;

use crate::cluster::pause;
use crate::rng::Rng;
use crate::workload::Kind;

/// The record of a pusher.
#[derive(Debug, Default)]
pub(crate) struct PushLog {
    pub(crate) pushed: Vec<(i64, Kind)>,
    pub(crate) undone: Vec<i64>,
    pub(crate) n_unknown: usize,
    /// The number of keyed pushes repeated after a lost response.
    pub(crate) n_repeated: usize,
}

/// Pushes several tasks per transaction, and rolls back one transaction in ten. After a
/// lost response the outcome of a transaction is unknown.
pub(crate) fn in_transactions(url: &str, seed: u64, stop: &Arc<AtomicBool>) -> JoinHandle<PushLog> {
    start(url, stop, move |log, sql, n| {
        let mut rng = Rng::new(seed ^ n << 20);
        let kinds: Vec<Kind> = (0..=rng.below(6)).map(|_| Kind::any(&mut rng)).collect();
        let end = match rng.below(10) {
            0 => "ROLLBACK",
            _ => "COMMIT",
        };
        let pushes: String = kinds.iter().map(|kind| push(*kind, None) + ";").collect();
        let Ok(ids) = sql.try_rows(&format!("BEGIN; {pushes} {end}")) else {
            log.n_unknown += kinds.len();
            return false;
        };
        let ids = ids.iter().map(|id| number(id));
        match end {
            "COMMIT" => log.pushed.extend(ids.zip(kinds)),
            _ => log.undone.extend(ids),
        }
        true
    })
}

/// Pushes tasks with keys, and repeats each push until it gets a response.
pub(crate) fn with_keys(url: &str, seed: u64, stop: &Arc<AtomicBool>) -> JoinHandle<PushLog> {
    start(url, stop, move |log, sql, n| {
        let kind = Kind::any(&mut Rng::new(seed ^ n << 20));
        let Ok(ids) = sql.try_rows(&push(kind, Some(&format!("chaos-{n}")))) else {
            log.n_repeated += 1;
            return false;
        };
        log.pushed.push((number(&ids[0]), kind));
        true
    })
}

/// The statement that pushes one task.
pub(crate) fn push(kind: Kind, key: Option<&str>) -> String {
    let spec = kind.push_spec();
    let retries = spec.retries.map_or("NULL".to_owned(), |n| n.to_string());
    let key = key.map_or("NULL".to_owned(), |key| format!("'{key}'"));
    let (handler, args) = (spec.handler, spec.args);
    format!("SELECT pgtq.push('{handler}', '{args}', retries => {retries}, key => {key})")
}

/// Calls `turn` until `stop` is set. After a failure it reconnects and repeats the turn
/// with the same number.
fn start(
    url: &str,
    stop: &Arc<AtomicBool>,
    turn: impl Fn(&mut PushLog, &Sql, u64) -> bool + Send + 'static,
) -> JoinHandle<PushLog> {
    let (url, stop) = (url.to_owned(), Arc::clone(stop));
    thread::spawn(move || {
        let mut log = PushLog::default();
        let mut n = 0;
        let mut is_open = false;
        // Does not stop while the outcome of a push is open.
        while is_open || !stop.load(Relaxed) {
            let Ok(sql) = Sql::try_connect(&url) else {
                pause(100);
                continue;
            };
            while is_open || !stop.load(Relaxed) {
                is_open = !turn(&mut log, &sql, n);
                if is_open {
                    break;
                }
                n += 1;
                pause(20);
            }
        }
        log
    })
}

fn number(text: &str) -> i64 {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is not an id"))
}
