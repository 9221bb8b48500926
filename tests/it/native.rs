//! Handlers written in Rust that run SQL, on an engine of this process: what
//! the store and the engine promise, whatever a sandbox does above them.

use std::sync::Arc;
use std::time::Duration;

use pgtq_engine::plugin::{NewVersion, Registry};
use pgtq_engine::{EngineConfig, QueueSpec, Shutdown, Summary, run};
use pgtq_store::{DatabaseConfig, Store};
use pgtq_task::{
    Attempt, AttemptRecord, Digest, ErrorKind, Failure, Handler, HandlerFuture, HandlerInfo,
    Limits, Name, NewTask, Outcome, Problem, Report, SqlGrant,
};
use pgtq_tests::{Sql, give_rows, login_role};
use tokio::task::JoinHandle;

/// What a native handler does.
pub(crate) type Act = fn(Attempt, SqlGrant) -> HandlerFuture;

struct Native {
    info: HandlerInfo,
    grant: SqlGrant,
    act: Act,
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

/// A role for handlers of this database, with a table `app.rows` of its own.
pub(crate) fn role(sql: &Sql) -> String {
    let role = login_role(sql, "role");
    give_rows(sql, &role);
    role
}

/// Rows of `app.rows`, and tasks that have one.
pub(crate) fn n_rows(sql: &Sql) -> String {
    sql.row("SELECT count(*), count(DISTINCT task) FROM app.rows")
}

/// What these handlers are granted: SQL as this role.
pub(crate) fn grant(role: &str) -> SqlGrant {
    SqlGrant {
        role: role.to_owned(),
        password: None,
        statement_timeout: Duration::from_secs(10),
        connections: 4,
    }
}

/// Handlers by name, for SQL as this role.
pub(crate) fn registry(role: &str, handlers: &[(&str, Act)]) -> Registry {
    registry_of(&grant(role), handlers)
}

/// A registry of handlers that all have this grant.
pub(crate) fn registry_of(grant: &SqlGrant, handlers: &[(&str, Act)]) -> Registry {
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

/// An engine under way.
pub(crate) struct Engine {
    shutdown: Shutdown,
    running: JoinHandle<Summary>,
}

impl Engine {
    pub(crate) async fn start(url: &str, registry: Registry) -> Self {
        Engine::serving(url, registry, None).await
    }

    /// One queue, or all of them.
    pub(crate) async fn serving(url: &str, registry: Registry, queue: Option<Name>) -> Self {
        let config = DatabaseConfig::parse(url).expect("an address");
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

    /// Stops what runs and gives it back.
    pub(crate) async fn abort(self) -> Summary {
        self.shutdown.abort();
        self.running.await.expect("no panic")
    }

    pub(crate) async fn stop(self) -> Summary {
        self.shutdown.drain();
        self.running.await.expect("no panic")
    }
}

/// What a handler's work takes: time that passes and nothing else.
pub(crate) async fn busy(time: Duration) {
    let nothing = std::future::pending::<()>();
    let _ = tokio::time::timeout(time, nothing).await;
}

pub(crate) async fn insert(attempt: &Attempt, grant: &SqlGrant, note: &str) -> Result<(), Problem> {
    let params = serde_json::json!([attempt.task.id.0, note]).to_string();
    let statement = "INSERT INTO app.rows VALUES ($1, $2)";
    let limits = Limits::default();
    let inserting = attempt.database.sql(grant, &limits, statement, &params);
    inserting.await.map(|_| ())
}

/// The outcome of an attempt whose SQL did not work.
pub(crate) fn failed(problem: Problem) -> Report {
    let mut failure = Failure::new(ErrorKind::Error, problem.message);
    failure.code = problem.code;
    Report::without_guest(Outcome::Retry {
        failure,
        after: Some(Duration::from_millis(100)),
    })
}

/// Inserts one row for its task and pushes a child that does the same.
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
