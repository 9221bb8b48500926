//! A handler that blocks its thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use pgtq_task::{Attempt, HandlerFuture, Outcome, Report, SqlGrant};
use pgtq_tests::{Database, Sql, wait_until};
use tokio::runtime::Builder;

use crate::native::{Engine, grant, registry_of};

/// Held by the test while the handler blocks.
static GATE: Mutex<()> = Mutex::new(());
static ENTERED: AtomicBool = AtomicBool::new(false);

/// A host call that blocks its thread, as a fault of the host would.
fn blocks(_attempt: Attempt, _grant: SqlGrant) -> HandlerFuture {
    Box::pin(async {
        ENTERED.store(true, SeqCst);
        drop(GATE.lock());
        Report::without_guest(Outcome::Complete {
            result: "true".to_owned(),
        })
    })
}

#[test]
fn the_lease_is_renewed_while_a_handler_blocks_every_thread() {
    let database = Database::migrated();
    let sql = Sql::connect(database.url());
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let closed = GATE.lock().expect("no panic");
    let registry = registry_of(&grant("unused"), &[("blocks", blocks)]);
    let engine = runtime.block_on(Engine::start(database.url(), registry));
    let id = sql.row("SELECT pgtq.push('blocks')");
    wait_until("the handler blocks", || ENTERED.load(SeqCst));
    let lease = "SELECT extract(epoch FROM expires_at)::bigint FROM pgtq.runners";
    let seconds = || sql.row(lease).parse::<i64>().expect("a number");
    let before = seconds();
    // A heartbeat every five seconds.
    wait_until("the lease is renewed twice", || seconds() >= before + 9);
    drop(closed);
    let state = format!("SELECT state FROM pgtq.tasks WHERE id = {id}");
    wait_until("the task completes", || sql.row(&state) == "complete");
    runtime.block_on(engine.stop());
}
