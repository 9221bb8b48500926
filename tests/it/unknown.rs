//! Connections that are lost when nobody knows any more what the server did.
//!
//! Three answers matter: that of a claim, that of an ending, that of a push. The
//! fourth, the commit of a handler's SQL, is in `exactly_once`. The last test cuts
//! every statement that a runner sends in every way.

use std::time::Duration;

use pgtq_store::DatabaseConfig;
use pgtq_store::Store;
use pgtq_task::{
    Attempt, AttemptRecord, ErrorKind, Failure, HandlerFuture, Name, NewTask, Outcome, Report,
    SqlGrant,
};
use pgtq_tests::{Database, Fate, Proxy, Rule, wait_until_async};
use tokio_postgres::Client;

use crate::native::{Act, Engine, book, leaf, registry, role};

/// Every way to lose an answer.
const WAYS: [Fate; 4] = [
    Fate::LostBefore,
    Fate::LostBehind,
    Fate::LostMeanwhile,
    Fate::Passes,
];

/// The same, and then for a while none.
const NOW_AND_THEN: [Fate; 7] = [
    Fate::LostBefore,
    Fate::LostBehind,
    Fate::LostMeanwhile,
    Fate::Passes,
    Fate::Passes,
    Fate::Passes,
    Fate::Passes,
];

/// What only the statement that claims has in it.
const CLAIM: &str = "one ordered scan for each";
/// What only the statement has in it that stores endings alone, without a transaction.
const FINISH: &str = "for final outcomes";

/// A database, a way past the proxy, a proxy, a role for SQL.
struct Scene {
    database: Database,
    direct: Client,
    proxy: Proxy,
    role: String,
}

impl Scene {
    async fn new() -> Self {
        let database = Database::migrated();
        let direct = database.client().await;
        let url = database.url().to_owned();
        let made = tokio::task::spawn_blocking(move || role(&pgtq_tests::Sql::connect(&url)));
        let role = made.await.expect("a role is made");
        let dir = row(&direct, "SELECT current_setting('unix_socket_directories')").await;
        Scene {
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
        let handlers: [(&str, Act); 6] = [
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

    async fn wait_for_ended(&self, n: usize) {
        wait_until_async(&format!("{n} have ended and nothing is left"), || async {
            row(&self.direct, "SELECT count(*) FROM pgtq.history").await == n.to_string()
                && row(&self.direct, crate::tasks::UNENDED).await == "0"
                && row(&self.direct, "SELECT count(*) FROM pgtq.claims").await == "0"
        })
        .await;
    }

    /// Handler, tasks, history rows, and the most and least attempts, line by line.
    async fn ends(&self) -> String {
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

/// Pushes two children with its result.
fn parent(_: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async {
        let child = || NewTask::new(Name::new("plain").expect("a name"), "{}");
        complete(vec![child(), child()])
    })
}

/// Fails once.
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

/// Snoozes until it is no longer new.
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
async fn a_claim_whose_answer_was_lost_is_given_back_and_runs_once() {
    const N: usize = 60;
    let scene = Scene::new().await;
    scene.proxy.rule(Rule::on(CLAIM).fates(&WAYS));
    scene.push("plain", N).await;
    let engine = scene.engine().await;
    scene.wait_for_ended(N).await;
    engine.stop().await;
    assert_eq!(scene.ends().await, format!("plain {N} {N} complete 1 1"));
    // A claim that nobody knew of was there, and is gone without a trace.
    assert_eq!(scene.proxy.n_hits(CLAIM, Fate::LostBehind), 1);
    let orphaned = "SELECT last_value > (SELECT count(DISTINCT claim_id) FROM pgtq.history) FROM pgtq.claim_ids";
    assert_eq!(row(&scene.direct, orphaned).await, "t");
    let others = "SELECT count(*), (SELECT max(crashes) FROM pgtq.history) FROM pgtq.attempts";
    assert_eq!(row(&scene.direct, others).await, "0|0");
}

#[tokio::test(flavor = "multi_thread")]
async fn endings_whose_answers_were_lost_count_once() {
    const N: usize = 40;
    let scene = Scene::new().await;
    let engine = scene.engine().await;
    for rule in [Rule::on(FINISH), Rule::exactly("COMMIT")] {
        // Nothing is claimed while endings cannot be stored, so some must be.
        let rule = rule.of("pgtq").fates(&NOW_AND_THEN);
        scene.proxy.rule(rule.again());
    }
    for handler in ["plain", "parent", "again", "later"] {
        scene.push(handler, N).await;
    }
    scene.wait_for_ended(6 * N).await;
    scene.proxy.no_rules();
    let summary = engine.stop().await;
    let all = format!(
        "again {N} {N} complete 2 2, later {N} {N} complete 1 1, parent {N} {N} complete 1 1, plain {0} {0} complete 1 1",
        3 * N
    );
    assert_eq!(scene.ends().await, all);
    let children = "SELECT count(DISTINCT parent), min(n), max(n) FROM (
        SELECT parent, count(*) AS n FROM pgtq.history WHERE parent IS NOT NULL GROUP BY 1) AS c";
    assert_eq!(row(&scene.direct, children).await, format!("{N}|2|2"));
    // What came back did so once for each task.
    let others = "SELECT string_agg(concat_ws(' ', kind, n, n_tasks), ', ' ORDER BY kind) FROM (
        SELECT kind, count(*) AS n, count(DISTINCT task_id) AS n_tasks FROM pgtq.attempts GROUP BY 1) AS a";
    assert_eq!(
        row(&scene.direct, others).await,
        format!("error {N} {N}, snooze {N} {N}")
    );
    assert_eq!(summary.complete, 6 * N as u64);
    for text in [FINISH, "COMMIT"] {
        for fate in &WAYS[..3] {
            assert!(scene.proxy.n_hits(text, *fate) > 0, "{text} {fate:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_with_a_key_whose_answer_was_lost_makes_one_task() {
    const N: usize = 12;
    let scene = Scene::new().await;
    let engine = scene.engine().await;
    let url = scene.url().await;
    let config = DatabaseConfig::parse(&url).expect("an address");
    let store = Store::connect(config).await.expect("connect");
    // One of these is in what the store sends, the other in what people write.
    for text in ["Caller: Store::push,", "SELECT pgtq.push("] {
        scene.proxy.rule(Rule::on(text).fates(&WAYS).again());
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
        assert_eq!(row(&scene.direct, &found).await, first.to_string());

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
        assert_eq!(row(&scene.direct, &found).await, id.to_string());
    }
    scene.wait_for_ended(2 * N).await;
    engine.stop().await;
    let ends = format!("plain {0} {0} complete 1 1", 2 * N);
    assert_eq!(scene.ends().await, ends);
    assert_eq!(n_pushes, 8 * N, "three in four are lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_a_runner_may_be_cut_in_every_way() {
    const ROUNDS: usize = 8;
    const N: usize = 5;
    let scene = Scene::new().await;
    let engine = scene.engine().await;
    let ways = [
        Fate::LostBefore,
        Fate::Passes,
        Fate::LostBehind,
        Fate::Passes,
        Fate::LostMeanwhile,
    ];
    scene.push("plain", 1).await;
    scene.wait_for_ended(1).await;
    // A login that fails is not what this is about, nor what handlers send.
    scene
        .proxy
        .rule(Rule::on("SET ").fates(&[Fate::Passes]).again());
    let rule = Rule::on("").of("pgtq").fates(&ways);
    scene.proxy.rule(rule.each_text_apart());
    for round in 1..=ROUNDS {
        for handler in ["plain", "parent", "again", "later", "book"] {
            scene.push(handler, N).await;
        }
        scene.wait_for_ended(1 + round * 8 * N).await;
    }
    let hits = scene.proxy.hits();
    scene.proxy.no_rules();
    engine.stop().await;
    let n = ROUNDS * N;
    let all = format!(
        "again {n} {n} complete 2 2, book {n} {n} complete 1 1, later {n} {n} complete 1 1, leaf {n} {n} complete 1 1, \
         parent {n} {n} complete 1 1, plain {0} {0} complete 1 1",
        3 * n + 1
    );
    assert_eq!(scene.ends().await, all);
    let rows = "SELECT count(*), count(DISTINCT task) FROM app.rows";
    assert_eq!(row(&scene.direct, rows).await, format!("{0}|{0}", 2 * n));
    let texts: std::collections::BTreeSet<&str> =
        hits.iter().map(|hit| hit.text.as_str()).collect();
    eprintln!("{} cuts of {} statements", hits.len(), texts.len());
    assert!(texts.len() >= 15, "{texts:#?}");
    drop(scene.database);
}
