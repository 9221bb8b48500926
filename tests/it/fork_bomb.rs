//! A handler that pushes itself twice: nothing counts generations, so it doubles at
//! the speed of its slots. It must not take the others with it, and an operator
//! must be able to end it.

use pgtq_tests::{cli, plugin_dir, wait_until};

use crate::tasks::{UNENDED, database, push, runner};

const BOMB: &str = "flaky.doubles";

#[test]
fn a_bomb_of_tasks_starves_nobody_and_an_operator_ends_it() {
    let (database, sql) = database();
    let url = database.url();
    let dir = plugin_dir(&["flaky", "hello"]);
    let mut runner = runner(url, dir.path(), "", &["-c", "4"]);
    let number = |what: &str| sql.number(&format!("SELECT count(*) FROM pgtq.{what}"));
    let waiting = || number(&format!("runnable WHERE handler = '{BOMB}'"));
    let under_way = || number(&format!("running WHERE handler = '{BOMB}'"));
    let added = || number("complete WHERE handler = 'add_numbers'");

    // More generations than anybody lives to see.
    push(&sql, BOMB, 1, "[1000000000]");
    wait_until("the bomb fills the queue", || waiting() > 2_000);
    push(&sql, "add_numbers", 200, "[2, 3]");
    wait_until("others' tasks are done beside it", || added() == 200);
    let beside = waiting();
    assert!(beside > 1_000, "there was no bomb any more: {beside}");

    let pause = cli(url, &["pause", "--handler", BOMB], "");
    assert_eq!(pause.code, Some(0), "{pause:?}");
    wait_until("nothing of it runs", || under_way() == 0);
    let paused = waiting();
    push(&sql, "add_numbers", 50, "[2, 3]");
    wait_until("others' tasks go on", || added() == 250);
    assert_eq!(waiting(), paused, "it grows while it is paused");

    let words = ["delete", "state:runnable", "handler:flaky.doubles", "--yes"];
    let delete = cli(url, &words, "");
    assert_eq!(delete.code, Some(0), "{delete:?}");
    assert_eq!(waiting(), 0);
    // What is left to be cancelled is one that comes now.
    push(&sql, BOMB, 1, "[1000000000]");
    let words = ["cancel", "handler:flaky.doubles", "--yes"];
    let cancel = cli(url, &words, "");
    assert_eq!(cancel.code, Some(0), "{cancel:?}");
    let resume = cli(url, &["resume", "--handler", BOMB], "");
    assert_eq!(resume.code, Some(0), "{resume:?}");
    push(&sql, "add_numbers", 50, "[2, 3]");
    wait_until("others' tasks go on", || added() == 300);

    assert_eq!(sql.number(UNENDED), 0, "something of it came back");
    let ends = sql.rows(&format!(
        "SELECT DISTINCT state, attempts FROM pgtq.history WHERE handler = '{BOMB}' ORDER BY 1"
    ));
    assert_eq!(ends, ["cancelled|0", "complete|1"]);
    assert!(runner.ended().is_none(), "{}", runner.stderr());
    eprintln!("{beside} tasks of the bomb waited beside 200 of others, {paused} were deleted");
}
