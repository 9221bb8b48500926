//! A private Postgres for this crate's tests: one server for the test process, one schema for
//! each test.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::connect::config::{DatabaseConfig, Schema};
use crate::connect::connection::Store;
use crate::verbs::lanes::Lanes;
use crate::verbs::lanes::lane::QueueFilter;
use crate::verbs::outcome_record::OutcomeRecord;
use crate::verbs::runner::RunnerFacts;
use pgtq_setup::postgres::{PrivatePostgres, ServerOptions};
use pgtq_task::{AttemptRecord, Name, NewTask, RunnerId, Task, Transition};

/// The server of this test process. Never dropped: it ends with the process.
fn server() -> &'static PrivatePostgres {
    static SERVER: OnceLock<PrivatePostgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let settings = [
            ("max_connections", "300"),
            ("max_prepared_transactions", "10"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = ServerOptions {
            settings: settings.to_vec(),
            ..ServerOptions::ephemeral()
        };
        PrivatePostgres::start(&options, &|_| ()).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// A configuration with a new schema that does not exist yet.
pub(super) fn config() -> DatabaseConfig {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut config = DatabaseConfig::parse(&server().url()).expect("legal");
    config.schema = format!("test_{n}").parse::<Schema>().expect("legal");
    config
}

/// A migrated store.
pub(super) async fn store() -> Store {
    let store = Store::connect(config()).await.expect("connect");
    store.migrate().await.expect("migrate");
    store
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).expect("legal")
}

pub(super) fn new_task(handler: &str) -> NewTask {
    NewTask::new(name(handler), "{}")
}

/// A registered runner that takes the tasks of some handlers.
pub(super) struct TestRunner {
    pub(super) store: Store,
    pub(super) id: RunnerId,
    pub(super) lanes: Lanes,
    pub(super) handlers: Vec<Name>,
}

impl TestRunner {
    pub(super) async fn new(store: &Store, handlers: &[&str]) -> Self {
        let facts = RunnerFacts {
            name: "test".into(),
            host: "here".into(),
            pid: 1,
            version: "0".into(),
            slots: 4,
            queues: vec!["*".into()],
        };
        // A separate process: its bookkeeping is not shared.
        let store = Store::connect(store.config().clone())
            .await
            .expect("connect");
        TestRunner {
            id: store.register(&facts).await.expect("register"),
            store,
            lanes: Lanes::new(QueueFilter::Except(Vec::new())),
            handlers: handlers.iter().map(|text| name(text)).collect(),
        }
    }

    /// Claims up to `want` with new cursors.
    pub(super) async fn claim(&mut self, want: u32) -> Vec<OutcomeRecord> {
        self.lanes = Lanes::new(self.lanes.filter.clone());
        self.claim_on(want).await
    }

    /// Claims up to `want` with the current cursors. The outcomes complete their tasks.
    pub(super) async fn claim_on(&mut self, want: u32) -> Vec<OutcomeRecord> {
        let claimed = self
            .store
            .claim(self.id, &mut self.lanes, &self.handlers, want)
            .await
            .expect("claim");
        claimed.map_or_else(Vec::new, |claimed| {
            claimed
                .tasks
                .into_iter()
                .map(|task| complete(claimed.claim, task))
                .collect()
        })
    }
}

pub(super) fn complete(claim: pgtq_task::ClaimId, task: Task) -> OutcomeRecord {
    OutcomeRecord {
        claim,
        task: task.into(),
        transition: Transition::Complete { result: "1".into() },
        record: AttemptRecord::default(),
        recorded: false,
        has_state: false,
        started: std::time::Instant::now(),
        ended: std::time::Instant::now(),
    }
}

/// A plain connection, to act as another program.
pub(super) async fn psql(store: &Store) -> tokio_postgres::Client {
    let (client, connection) = store
        .config()
        .postgres
        .connect(tokio_postgres::NoTls)
        .await
        .expect("connect");
    tokio::spawn(connection);
    client
        .batch_execute(&format!("SET search_path = {}", store.config().schema))
        .await
        .expect("set");
    client
}

/// One value of one row, as text.
pub(super) async fn ask(client: &tokio_postgres::Client, sql: &str) -> String {
    let rows = client.simple_query(sql).await.expect(sql);
    rows.iter()
        .find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("null")),
            _ => None,
        })
        .unwrap_or("nothing")
        .to_owned()
}

/// Compares with a file under `tests/golden/`; `PGTQ_UPDATE=1` writes it.
pub(super) fn golden(file: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(file);
    let text = format!("{text}\n");
    if std::env::var_os("PGTQ_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("create");
        std::fs::write(&path, text).expect("write");
        return;
    }
    let wanted = std::fs::read_to_string(&path).expect("the golden file; PGTQ_UPDATE=1 writes it");
    assert_eq!(
        wanted, text,
        "{file} differs; PGTQ_UPDATE=1 accepts the new one"
    );
}
