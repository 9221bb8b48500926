//! Mutation tests of the checker: it must detect each of these bugs, and report nothing
//! without a bug. A bug is a statement rewritten by the proxy, or a changed function of
//! the schema. The program is unchanged.

use pgtq_tests::{Database, Fault, Proxy, Rule, Sql, plugin_dir, wait_until};

use crate::checker::check;
use crate::cluster::{create_role, pause, start};
use crate::facts::Facts;
use crate::pusher::push;
use crate::workload::Kind;

/// A bug.
enum Mutant {
    /// Replaces the first text by the second in statements.
    Statement(&'static str, &'static str),
    /// Replaces the second text by the third in this function of the schema.
    Function(&'static str, &'static str, &'static str),
}

/// A short run with a stale outcome, a rescue, children, effects and a repeated push with
/// a key. Returns the violated rules.
fn broken_by(mutant: Option<&Mutant>) -> Vec<&'static str> {
    let database = Database::migrated();
    let sql = Sql::connect(database.url());
    let role = sql.row("SELECT current_database() || '_mutants'");
    create_role(&sql, &role);
    let dir = sql.row("SELECT current_setting('unix_socket_directories')");
    let name = sql.row("SELECT current_database()");
    let proxy = Proxy::start(dir);
    match mutant {
        None => {}
        Some(Mutant::Statement(from, to)) => proxy.rewrite(from, to),
        Some(Mutant::Function(function, from, to)) => replace(&sql, function, from, to),
    }
    let plugins = plugin_dir(&["flaky", "hello"]);
    let run = |name_of, url: &str| {
        let mut runner = start(url, plugins.path(), &role, &["-c", "16", "--name", name_of]);
        runner.wait_for("running");
        runner
    };
    let mut facts = Facts::default();
    let mut ann = run("ann", &proxy.url(&name));

    // Tasks without faults.
    let mut kinds = vec![Kind::Add(2, 3); 20];
    kinds.extend([Kind::Book; 5]);
    kinds.extend([Kind::Undone; 5]);
    kinds.extend([Kind::Parent(2); 5]);
    for (n, kind) in kinds.into_iter().enumerate() {
        // Twice, as after a lost response.
        let text = push(kind, Some(&format!("key-{n}")));
        for _ in 0..2 {
            facts.pushed.push((sql.number(&text), kind));
        }
    }
    facts.pushed.dedup();
    // Tasks that run for longer than the interval of rescues.
    for _ in 0..4 {
        let kind = Kind::Sleep(3_500);
        facts.pushed.push((sql.number(&push(kind, None)), kind));
    }
    let n_left = "SELECT (SELECT count(*) FROM pgtq.runnable_tasks) + (SELECT count(*) FROM pgtq.scheduled_tasks)
        + (SELECT count(*) FROM pgtq.running)";
    wait_until("all tasks are finished", || sql.number(n_left) == 0);

    // One runner is stopped, and its tasks are rescued. Its heartbeats are held, so that
    // it does not notice before it reports its outcomes.
    for _ in 0..4 {
        let kind = Kind::Sleep(1_500);
        facts.pushed.push((sql.number(&push(kind, None)), kind));
    }
    let n_running = "SELECT count(*) FROM pgtq.running";
    wait_until("all are running", || sql.number(n_running) == 4);
    proxy.rule(Rule::on("Caller: Store::beat").faults(&[Fault::Hold; 9]));
    ann.pause();
    facts.excused.extend(ids(&sql));
    sql.rows(
        "UPDATE pgtq.runners SET expires_at = now() - interval '1 second'; SELECT pgtq.rescue()",
    );
    let other = Proxy::start(sql.row("SELECT current_setting('unix_socket_directories')"));
    if let Some(Mutant::Statement(from, to)) = mutant {
        other.rewrite(from, to);
    }
    let mut ben = run("ben", &other.url(&name));
    wait_until("the other runner has claimed them", || {
        sql.number(n_running) == 4
    });
    ann.resume();
    wait_until("all tasks are finished again", || sql.number(n_left) == 0);
    proxy.clear_rules();
    proxy.release();
    // Time for late outcomes.
    pause(500);
    for runner in [&mut ann, &mut ben] {
        runner.terminate();
        runner.wait();
    }
    facts.read(&sql);
    let mut rules: Vec<&str> = check(&facts).iter().map(|found| found.rule).collect();
    rules.dedup();
    rules
}

fn ids(sql: &Sql) -> Vec<i64> {
    let rows = sql.rows("SELECT id FROM pgtq.runners");
    rows.iter().filter_map(|id| id.parse().ok()).collect()
}

/// Replaces a text in a function of the schema.
fn replace(sql: &Sql, function: &str, from: &str, to: &str) {
    let text = sql.row(&format!(
        "SELECT pg_get_functiondef(oid) FROM pg_proc
         WHERE pronamespace = 'pgtq'::regnamespace AND proname = '{function}'
         ORDER BY position('plpgsql' in pg_get_functiondef(oid)) DESC LIMIT 1"
    ));
    assert!(text.contains(from), "{function} has changed: {text}");
    sql.rows(&text.replace(from, to));
}

#[track_caller]
fn assert_caught(mutant: &Mutant, rule: &str) {
    let rules = broken_by(Some(mutant));
    assert!(rules.contains(&rule), "{rules:?}");
}

#[test]
fn without_a_bug_the_checker_finds_nothing() {
    assert_eq!(broken_by(None), Vec::<&str>::new());
}

#[test]
fn an_outcome_without_its_fence_is_caught() {
    let mutant = Mutant::Statement(
        "WHERE e.claim_id = ANY (ARRAY(SELECT id FROM held))",
        "WHERE true",
    );
    assert_caught(&mutant, "each task has one outcome");
}

#[test]
fn a_rescue_ignoring_the_lease_is_caught() {
    // Once only: a task rescued repeatedly would never finish.
    let mutant = Mutant::Function(
        "rescue",
        "WHERE expires_at < now() ORDER BY id",
        "WHERE expires_at < now() OR NOT EXISTS (SELECT FROM pgtq.attempts WHERE kind = 'lost') ORDER BY id",
    );
    assert_caught(&mutant, "valid leases are respected");
}

#[test]
fn children_pushed_twice_are_caught() {
    let again = "
        INSERT INTO pgtq.runnable_tasks (queue, handler, priority, position, id, parent, args)
        SELECT n.queue, n.handler, 0, n.id, n.id, n.parent, n.args::json
        FROM (SELECT nextval('pgtq.task_ids') AS id, u.*
              FROM unnest(queues, handlers, args, parents) AS u (queue, handler, args, parent)) AS n
        WHERE n.parent IS NOT NULL;
        PERFORM \"pgtq\".wake(queues);";
    let mutant = Mutant::Function("push_rows", "PERFORM \"pgtq\".wake(queues);", again);
    assert_caught(&mutant, "children are committed with their parent");
}

#[test]
fn claims_deleted_without_history_are_caught() {
    let mutant = Mutant::Statement(
        "WHERE e.claim_id = ANY (ARRAY(SELECT id FROM held))",
        "WHERE e.id % 5 <> 0 AND e.claim_id = ANY (ARRAY(SELECT id FROM held))",
    );
    assert_caught(&mutant, "every acknowledged task has an outcome");
}

#[test]
fn effects_committed_apart_from_the_outcome_are_caught() {
    let mutant = Mutant::Statement("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;", "");
    assert_caught(&mutant, "effects are committed with the outcome");
}

#[test]
fn a_push_ignoring_its_key_is_caught() {
    let mutant = Mutant::Function(
        "push",
        "IF NOT FOUND THEN\n            -- A separate statement",
        "IF false THEN\n            -- A separate statement",
    );
    assert_caught(&mutant, "each task has one outcome");
}
