//! Who pushes: one in transactions of its own, one through a proxy with keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use pgtq_tests::Sql;

use crate::dice::Dice;
use crate::workload::Kind;
use crate::world::pause;

/// What a pusher knows at the end.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) pushed: Vec<(i64, Kind)>,
    pub(crate) undone: Vec<i64>,
    pub(crate) n_unknown: usize,
    /// Pushes with a key that were repeated because their answer was lost.
    pub(crate) n_repeated: usize,
}

/// Pushes in transactions of several, one in ten of which it rolls back. It
/// cannot know what became of one whose answer was lost.
pub(crate) fn in_transactions(url: &str, seed: u64, stop: &Arc<AtomicBool>) -> JoinHandle<Ledger> {
    start(url, stop, move |ledger, sql, n| {
        let mut dice = Dice::new(seed ^ n << 20);
        let kinds: Vec<Kind> = (0..=dice.below(6)).map(|_| Kind::any(&mut dice)).collect();
        let end = match dice.below(10) {
            0 => "ROLLBACK",
            _ => "COMMIT",
        };
        let pushes: String = kinds.iter().map(|kind| push(*kind, None) + ";").collect();
        let Ok(ids) = sql.try_rows(&format!("BEGIN; {pushes} {end}")) else {
            ledger.n_unknown += kinds.len();
            return false;
        };
        let ids = ids.iter().map(|id| number(id));
        match end {
            "COMMIT" => ledger.pushed.extend(ids.zip(kinds)),
            _ => ledger.undone.extend(ids),
        }
        true
    })
}

/// Pushes with a key for each, again and again until it has an answer.
pub(crate) fn with_keys(url: &str, seed: u64, stop: &Arc<AtomicBool>) -> JoinHandle<Ledger> {
    start(url, stop, move |ledger, sql, n| {
        let kind = Kind::any(&mut Dice::new(seed ^ n << 20));
        let Ok(ids) = sql.try_rows(&push(kind, Some(&format!("chaos-{n}")))) else {
            ledger.n_repeated += 1;
            return false;
        };
        ledger.pushed.push((number(&ids[0]), kind));
        true
    })
}

/// The statement that pushes one.
pub(crate) fn push(kind: Kind, key: Option<&str>) -> String {
    let order = kind.order();
    let retries = order.retries.map_or("NULL".to_owned(), |n| n.to_string());
    let key = key.map_or("NULL".to_owned(), |key| format!("'{key}'"));
    let (handler, args) = (order.handler, order.args);
    format!("SELECT pgtq.push('{handler}', '{args}', retries => {retries}, key => {key})")
}

/// Takes turns until it is asked to stop; a turn that fails reconnects and is
/// taken again under the same number if `turn` needs that.
fn start(
    url: &str,
    stop: &Arc<AtomicBool>,
    turn: impl Fn(&mut Ledger, &Sql, u64) -> bool + Send + 'static,
) -> JoinHandle<Ledger> {
    let (url, stop) = (url.to_owned(), Arc::clone(stop));
    thread::spawn(move || {
        let mut ledger = Ledger::default();
        let mut n = 0;
        let mut is_open = false;
        // Not between a push whose answer was lost and the answer.
        while is_open || !stop.load(Relaxed) {
            let Ok(sql) = Sql::try_connect(&url) else {
                pause(100);
                continue;
            };
            while is_open || !stop.load(Relaxed) {
                is_open = !turn(&mut ledger, &sql, n);
                if is_open {
                    break;
                }
                n += 1;
                pause(20);
            }
        }
        ledger
    })
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no id"))
}
