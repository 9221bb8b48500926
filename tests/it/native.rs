//! Native Rust handlers with SQL, on an engine in the test process: tests of store and
//! engine without the sandbox.

use std::sync::Arc;
use std::time::Duration;

use pgtq_engine::plugin::{NewVersion, Registry};
use pgtq_engine::{EngineConfig, QueueSpec, Shutdown, Summary, run};
use pgtq_store::{DatabaseConfig, Store};
use pgtq_task::{
    Attempt, AttemptRecord, Digest, ErrorKind, Failure, GuestError, Handler, HandlerFuture,
    HandlerInfo, Limits, Name, NewTask, Outcome, Report, SqlGrant,
};
use pgtq_tests::{Sql, create_app_rows, login_role};
use tokio::task::JoinHandle;

/// A native handler function.
pub(crate) type HandlerFn = fn(Attempt, SqlGrant) -> HandlerFuture;

struct Native {
    info: HandlerInfo,
    grant: SqlGrant,
    act: HandlerFn,
}

impl Handler for Native {
    fn info(&self) -> &HandlerInfo {
        &self.info
    }

    fn digest(&self) -> Option<Digest> {
        None
    }

    fn call(&self, attempt: Attempt) -> HandlerFuture {
        (self.act)(attempt, self.grant.clone())
    }
}

/// Creates a role for handlers of this database, with a table `app.rows`.
pub(crate) fn role(sql: &Sql) -> String {
    let role = login_role(sql, "role");
    create_app_rows(sql, &role);
    role
}

/// The number of rows in `app.rows`, and of their tasks.
pub(crate) fn n_rows(sql: &Sql) -> String {
    sql.row("SELECT count(*), count(DISTINCT task) FROM app.rows")
}

/// A grant for SQL as this role.
pub(crate) fn grant(role: &str) -> SqlGrant {
    SqlGrant {
        role: role.to_owned(),
        password: None,
        statement_timeout: Duration::from_secs(10),
        connections: 4,
    }
}

/// A registry of handlers with SQL as this role.
pub(crate) fn registry(role: &str, handlers: &[(&str, HandlerFn)]) -> Registry {
    registry_of(&grant(role), handlers)
}

/// A registry of handlers with this grant.
pub(crate) fn registry_of(grant: &SqlGrant, handlers: &[(&str, HandlerFn)]) -> Registry {
    let registry = Registry::new();
    let handlers = handlers.iter().map(|(name, act)| {
        let info = serde_json::json!({"name": name, "retry": {"retries": 3}});
        let handler: Arc<dyn Handler> = Arc::new(Native {
            info: serde_json::from_value(info).expect("an info"),
            grant: grant.clone(),
            act: *act,
        });
        handler
    });
    let version = NewVersion {
        digest: None,
        plugin: None,
        handlers: handlers.collect(),
    };
    registry.serve("native.wasm", version).expect("one file");
    registry
}

/// A running engine.
pub(crate) struct Engine {
    shutdown: Shutdown,
    running: JoinHandle<Summary>,
}

impl Engine {
    pub(crate) async fn start(url: &str, registry: Registry) -> Self {
        Engine::serving(url, registry, None).await
    }

    /// Serves one queue, or all.
    pub(crate) async fn serving(url: &str, registry: Registry, queue: Option<Name>) -> Self {
        let config = DatabaseConfig::parse(url).expect("a valid URL");
        let store = Store::connect(config).await.expect("connect");
        let config = EngineConfig {
            queues: vec![QueueSpec {
                name: queue,
                slots: 8,
            }],
            poll_only: !store.config().can_listen(),
            ..EngineConfig::default()
        };
        let shutdown = Shutdown::new();
        let handle = shutdown.clone();
        Engine {
            shutdown,
            running: tokio::spawn(async move {
                let ended = run(store, registry, config, handle).await;
                ended.expect("the engine starts and stops")
            }),
        }
    }

    /// Stops running attempts and releases their tasks.
    pub(crate) async fn abort(self) -> Summary {
        self.shutdown.abort();
        self.running.await.expect("no panic")
    }

    pub(crate) async fn stop(self) -> Summary {
        self.shutdown.drain();
        self.running.await.expect("no panic")
    }
}

/// Simulates work that takes this time.
pub(crate) async fn busy(time: Duration) {
    let nothing = std::future::pending::<()>();
    let _ = tokio::time::timeout(time, nothing).await;
}

pub(crate) async fn insert(
    attempt: &Attempt,
    grant: &SqlGrant,
    note: &str,
) -> Result<(), GuestError> {
    let params = serde_json::json!([attempt.task.id.0, note]).to_string();
    let statement = "INSERT INTO app.rows VALUES ($1, $2)";
    let limits = Limits::default();
    let inserting = attempt.database.sql(grant, &limits, statement, &params);
    inserting.await.map(|_| ())
}

/// The report of an attempt whose SQL failed.
pub(crate) fn failed(problem: GuestError) -> Report {
    let mut failure = Failure::new(ErrorKind::Error, problem.message);
    failure.code = problem.code;
    Report::without_guest(Outcome::Retry {
        failure,
        after: Some(Duration::from_millis(100)),
    })
}

/// Inserts one row for its task and pushes a child that inserts another.
pub(crate) fn book(attempt: Attempt, grant: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        if let Err(problem) = insert(&attempt, &grant, "parent").await {
            return failed(problem);
        }
        let leaf = Name::new("leaf").expect("a name");
        Report {
            outcome: Outcome::Complete {
                result: "true".to_owned(),
            },
            record: AttemptRecord {
                children: vec![NewTask::new(leaf, "{}")],
                ..AttemptRecord::default()
            },
        }
    })
}

/// Inserts one row for its task.
pub(crate) fn leaf(attempt: Attempt, grant: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        match insert(&attempt, &grant, "leaf").await {
            Ok(()) => Report::without_guest(Outcome::Complete {
                result: "true".to_owned(),
            }),
            Err(problem) => failed(problem),
        }
    })
}
