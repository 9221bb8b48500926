//! A handler that pushes itself twice. Generations are not limited, so the number of tasks
//! grows exponentially. Other handlers must not starve, and an operator must be able to
//! stop it.

use pgtq_tests::{cli, plugin_dir, wait_until};

use crate::tasks::{UNFINISHED, database, push, runner};

const BOMB: &str = "flaky.doubles";

#[test]
fn a_task_bomb_starves_no_other_handler_and_can_be_deleted() {
    let (database, sql) = database();
    let url = database.url();
    let dir = plugin_dir(&["flaky", "hello"]);
    let mut runner = runner(url, dir.path(), "", &["-c", "4"]);
    let number = |what: &str| sql.number(&format!("SELECT count(*) FROM pgtq.{what}"));
    let waiting = || number(&format!("runnable WHERE handler = '{BOMB}'"));
    let under_way = || number(&format!("running WHERE handler = '{BOMB}'"));
    let added = || number("complete WHERE handler = 'add_numbers'");

    // Practically unlimited generations.
    push(&sql, BOMB, 1, "[1000000000]");
    wait_until("the bomb fills the queue", || waiting() > 2_000);
    push(&sql, "add_numbers", 200, "[2, 3]");
    wait_until("other tasks are finished beside it", || added() == 200);
    let beside = waiting();
    assert!(beside > 1_000, "the bomb has ended: {beside}");

    let pause = cli(url, &["pause", "--handler", BOMB], "");
    assert_eq!(pause.code, Some(0), "{pause:?}");
    wait_until("no task of the bomb runs", || under_way() == 0);
    let paused = waiting();
    push(&sql, "add_numbers", 50, "[2, 3]");
    wait_until("other tasks continue", || added() == 250);
    assert_eq!(waiting(), paused, "it grows while it is paused");

    let words = ["delete", "state:runnable", "handler:flaky.doubles", "--yes"];
    let delete = cli(url, &words, "");
    assert_eq!(delete.code, Some(0), "{delete:?}");
    assert_eq!(waiting(), 0);
    // Cancels tasks pushed in the meantime.
    push(&sql, BOMB, 1, "[1000000000]");
    let words = ["cancel", "handler:flaky.doubles", "--yes"];
    let cancel = cli(url, &words, "");
    assert_eq!(cancel.code, Some(0), "{cancel:?}");
    let resume = cli(url, &["resume", "--handler", BOMB], "");
    assert_eq!(resume.code, Some(0), "{resume:?}");
    push(&sql, "add_numbers", 50, "[2, 3]");
    wait_until("other tasks continue", || added() == 300);

    assert_eq!(sql.number(UNFINISHED), 0, "tasks of the bomb are left");
    let ends = sql.rows(&format!(
        "SELECT DISTINCT state, attempts FROM pgtq.history WHERE handler = '{BOMB}' ORDER BY 1"
    ));
    assert_eq!(ends, ["cancelled|0", "complete|1"]);
    assert!(runner.exited().is_none(), "{}", runner.stderr());
    eprintln!("{beside} tasks of the bomb waited beside 200 of others, {paused} were deleted");
}
