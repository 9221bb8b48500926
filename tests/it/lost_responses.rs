//! Lost responses: the client does not know whether a statement has taken effect.
//!
//! The tests cover responses to claims, outcomes and pushes; `exactly_once` covers the
//! commit of handler SQL. The last test cuts the connection at every statement of a
//! runner.

use std::time::Duration;

use pgtq_store::DatabaseConfig;
use pgtq_store::Store;
use pgtq_task::{
    Attempt, AttemptRecord, ErrorKind, Failure, HandlerFuture, Name, NewTask, Outcome, Report,
    SqlGrant,
};
use pgtq_tests::{Database, Fault, Proxy, Rule, wait_until_async};
use tokio_postgres::Client;

use crate::native::{Engine, HandlerFn, book, leaf, registry, role};

/// Every kind of cut, and no fault.
const CUTS: [Fault; 4] = [
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::CutDuring,
    Fault::None,
];

/// Every kind of cut, followed by statements without faults.
const SOME_CUTS: [Fault; 7] = [
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::CutDuring,
    Fault::None,
    Fault::None,
    Fault::None,
    Fault::None,
];

/// A text that only the claim statement contains.
const CLAIM: &str = "one ordered scan for each";
/// A text that only the statement contains that stores outcomes without a transaction.
const FINISH: &str = "for final outcomes";

/// A database, a direct connection, a proxy, and a role for SQL.
struct Fixture {
    database: Database,
    direct: Client,
    proxy: Proxy,
    role: String,
}

impl Fixture {
    async fn new() -> Self {
        let database = Database::migrated();
        let direct = database.client().await;
        let url = database.url().to_owned();
        let created = tokio::task::spawn_blocking(move || role(&pgtq_tests::Sql::connect(&url)));
        let role = created.await.expect("a role is created");
        let dir = row(&direct, "SELECT current_setting('unix_socket_directories')").await;
        Fixture {
            database,
            direct,
            proxy: Proxy::start(dir),
            role,
        }
    }

    async fn url(&self) -> String {
        let name = row(&self.direct, "SELECT current_database()").await;
        self.proxy.url(&name)
    }

    async fn engine(&self) -> Engine {
        let handlers: [(&str, HandlerFn); 6] = [
            ("plain", plain),
            ("parent", parent),
            ("again", again),
            ("later", later),
            ("book", book),
            ("leaf", leaf),
        ];
        Engine::start(&self.url().await, registry(&self.role, &handlers)).await
    }

    async fn push(&self, handler: &str, n: usize) {
        let text = format!("SELECT count(pgtq.push('{handler}')) FROM generate_series(1, {n})");
        row(&self.direct, &text).await;
    }

    async fn wait_for_finished(&self, n: usize) {
        wait_until_async(
            &format!("{n} tasks are finished and none is left"),
            || async {
                row(&self.direct, "SELECT count(*) FROM pgtq.history").await == n.to_string()
                    && row(&self.direct, crate::tasks::UNFINISHED).await == "0"
                    && row(&self.direct, "SELECT count(*) FROM pgtq.claims").await == "0"
            },
        )
        .await;
    }

    /// For each handler and state: tasks, history rows, minimum and maximum attempts.
    async fn summary(&self) -> String {
        row(
            &self.direct,
            "SELECT string_agg(concat_ws(' ', handler, n, n_rows, state, least, most), ', ' ORDER BY handler)
             FROM (SELECT handler, state, count(DISTINCT id) AS n, count(*) AS n_rows,
                          min(attempts) AS least, max(attempts) AS most
                   FROM pgtq.history GROUP BY handler, state) AS h",
        )
        .await
    }
}

/// The first row.
async fn row(client: &Client, text: &str) -> String {
    let answer = client.simple_query(text).await.expect(text);
    let row = answer.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.map_or(String::new(), |row| {
        let cells: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("")).collect();
        cells.join("|")
    })
}

fn complete(children: Vec<NewTask>) -> Report {
    Report {
        outcome: Outcome::Complete {
            result: "true".to_owned(),
        },
        record: AttemptRecord {
            children,
            ..AttemptRecord::default()
        },
    }
}

fn plain(_: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async { complete(Vec::new()) })
}

/// Completes with two children.
fn parent(_: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async {
        let child = || NewTask::new(Name::new("plain").expect("a name"), "{}");
        complete(vec![child(), child()])
    })
}

/// Fails in its first attempt.
fn again(attempt: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        if attempt.task.attempts > 0 {
            return complete(Vec::new());
        }
        Report::without_guest(Outcome::Retry {
            failure: Failure::new(ErrorKind::Error, "the first time"),
            after: Some(Duration::from_millis(100)),
        })
    })
}

/// Snoozes once.
fn later(attempt: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        if attempt.task.due_at > attempt.task.pushed_at {
            return complete(Vec::new());
        }
        Report::without_guest(Outcome::Snooze {
            after: Duration::from_millis(100),
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_with_a_lost_response_is_released_and_runs_once() {
    const N: usize = 60;
    let fixture = Fixture::new().await;
    fixture.proxy.rule(Rule::on(CLAIM).faults(&CUTS));
    fixture.push("plain", N).await;
    let engine = fixture.engine().await;
    fixture.wait_for_finished(N).await;
    engine.stop().await;
    assert_eq!(
        fixture.summary().await,
        format!("plain {N} {N} complete 1 1")
    );
    // There was an orphaned claim, and it is released without an attempt.
    assert_eq!(fixture.proxy.n_hits(CLAIM, Fault::CutAfter), 1);
    let orphaned = "SELECT last_value > (SELECT count(DISTINCT claim_id) FROM pgtq.history) FROM pgtq.claim_ids";
    assert_eq!(row(&fixture.direct, orphaned).await, "t");
    let others = "SELECT count(*), (SELECT max(crashes) FROM pgtq.history) FROM pgtq.attempts";
    assert_eq!(row(&fixture.direct, others).await, "0|0");
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_with_lost_responses_are_stored_once() {
    const N: usize = 40;
    let fixture = Fixture::new().await;
    let engine = fixture.engine().await;
    for rule in [Rule::on(FINISH), Rule::exactly("COMMIT")] {
        // Nothing is claimed while outcomes cannot be stored, so some must succeed.
        let rule = rule.of("pgtq").faults(&SOME_CUTS);
        fixture.proxy.rule(rule.repeat());
    }
    for handler in ["plain", "parent", "again", "later"] {
        fixture.push(handler, N).await;
    }
    fixture.wait_for_finished(6 * N).await;
    fixture.proxy.clear_rules();
    let summary = engine.stop().await;
    let all = format!(
        "again {N} {N} complete 2 2, later {N} {N} complete 1 1, parent {N} {N} complete 1 1, plain {0} {0} complete 1 1",
        3 * N
    );
    assert_eq!(fixture.summary().await, all);
    let children = "SELECT count(DISTINCT parent), min(n), max(n) FROM (
        SELECT parent, count(*) AS n FROM pgtq.history WHERE parent IS NOT NULL GROUP BY 1) AS c";
    assert_eq!(row(&fixture.direct, children).await, format!("{N}|2|2"));
    // One error or snooze per task.
    let others = "SELECT string_agg(concat_ws(' ', kind, n, n_tasks), ', ' ORDER BY kind) FROM (
        SELECT kind, count(*) AS n, count(DISTINCT task_id) AS n_tasks FROM pgtq.attempts GROUP BY 1) AS a";
    assert_eq!(
        row(&fixture.direct, others).await,
        format!("error {N} {N}, snooze {N} {N}")
    );
    assert_eq!(summary.complete, 6 * N as u64);
    for text in [FINISH, "COMMIT"] {
        for cut in &CUTS[..3] {
            assert!(fixture.proxy.n_hits(text, *cut) > 0, "{text} {cut:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_push_with_a_lost_response_creates_one_task() {
    const N: usize = 12;
    let fixture = Fixture::new().await;
    let engine = fixture.engine().await;
    let url = fixture.url().await;
    let config = DatabaseConfig::parse(&url).expect("a valid URL");
    let store = Store::connect(config).await.expect("connect");
    // The first is in statements of the store, the second in SQL of applications.
    for text in ["Caller: Store::push,", "SELECT pgtq.push("] {
        fixture.proxy.rule(Rule::on(text).faults(&CUTS).repeat());
    }
    let mut n_pushes = 0;
    for n in 0..N {
        let name = Name::new("plain").expect("a name");
        let mut task = NewTask::new(name, "{}");
        task.key = Some(format!("store-{n}"));
        let first = loop {
            n_pushes += 1;
            if let Ok(pushed) = store.push(std::slice::from_ref(&task)).await {
                break pushed[0].id.0;
            }
        };
        let found = format!("SELECT id FROM pgtq.tasks WHERE key = 'store-{n}'");
        assert_eq!(row(&fixture.direct, &found).await, first.to_string());

        let text = format!("SELECT pgtq.push('plain', key => 'sql-{n}')");
        let id = loop {
            n_pushes += 1;
            let login = tokio_postgres::connect(&url, tokio_postgres::NoTls);
            let (client, connection) = login.await.expect("connect");
            tokio::spawn(connection);
            if let Ok(row) = client.query_one(&text, &[]).await {
                break row.get::<_, i64>(0);
            }
        };
        let found = format!("SELECT id FROM pgtq.tasks WHERE key = 'sql-{n}'");
        assert_eq!(row(&fixture.direct, &found).await, id.to_string());
    }
    fixture.wait_for_finished(2 * N).await;
    engine.stop().await;
    let ends = format!("plain {0} {0} complete 1 1", 2 * N);
    assert_eq!(fixture.summary().await, ends);
    assert_eq!(n_pushes, 8 * N, "three of four responses are lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_a_runner_survives_every_kind_of_cut() {
    const ROUNDS: usize = 8;
    const N: usize = 5;
    let fixture = Fixture::new().await;
    let engine = fixture.engine().await;
    let cuts = [
        Fault::CutBefore,
        Fault::None,
        Fault::CutAfter,
        Fault::None,
        Fault::CutDuring,
    ];
    fixture.push("plain", 1).await;
    fixture.wait_for_finished(1).await;
    // Excludes logins; statements of handlers have another user.
    fixture
        .proxy
        .rule(Rule::on("SET ").faults(&[Fault::None]).repeat());
    let rule = Rule::on("").of("pgtq").faults(&cuts);
    fixture.proxy.rule(rule.per_text());
    for round in 1..=ROUNDS {
        for handler in ["plain", "parent", "again", "later", "book"] {
            fixture.push(handler, N).await;
        }
        fixture.wait_for_finished(1 + round * 8 * N).await;
    }
    let hits = fixture.proxy.hits();
    fixture.proxy.clear_rules();
    engine.stop().await;
    let n = ROUNDS * N;
    let all = format!(
        "again {n} {n} complete 2 2, book {n} {n} complete 1 1, later {n} {n} complete 1 1, leaf {n} {n} complete 1 1, \
         parent {n} {n} complete 1 1, plain {0} {0} complete 1 1",
        3 * n + 1
    );
    assert_eq!(fixture.summary().await, all);
    let rows = "SELECT count(*), count(DISTINCT task) FROM app.rows";
    assert_eq!(row(&fixture.direct, rows).await, format!("{0}|{0}", 2 * n));
    let texts: std::collections::BTreeSet<&str> =
        hits.iter().map(|hit| hit.text.as_str()).collect();
    eprintln!("{} cuts of {} statements", hits.len(), texts.len());
    assert!(texts.len() >= 15, "{texts:#?}");
    drop(fixture.database);
}
