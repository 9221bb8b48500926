//! The store's connections: one for each role, made when needed, made again
//! when lost.
//!
//! A verb leases its role's session and gives it back clean. A session with a
//! statement under way or a transaction open is never given back: a verb whose
//! future is dropped costs a new connection, and the server rolls back.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::attempt::Pools;
use super::claims::LiveClaims;
use super::error::{classify, classify_connect};
use super::sql::Sql;
use super::ticket::Ticket;
use super::{DatabaseConfig, StoreError};

/// A handle on the queue. Cheap to clone; connections are made when needed
/// and made again when lost.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    config: DatabaseConfig,
    tls: MakeRustlsConnect,
    sessions: [Mutex<Option<Session>>; ROLES],
    live: StdMutex<LiveClaims>,
    ticket: Ticket,
    /// Connections of handlers' SQL, made when a handler first asks.
    pools: Arc<Pools>,
    /// When rescue last looked for orphans, in milliseconds after `born`.
    orphans_looked: AtomicU64,
    born: Instant,
}

/// What a connection is for. A slow verb of one role never delays another role.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Claim,
    Finish,
    Beat,
    General,
    Rescue,
    Bulk,
    Live,
    /// Values that handlers save for later attempts.
    State,
    /// What became of a commit whose answer was lost: waits for its transaction.
    Doubt,
}

const ROLES: usize = 9;

impl Role {
    /// How long one statement may take. After that the connection is given up.
    fn patience(self) -> Duration {
        Duration::from_secs(match self {
            // Below the lease, so that a runner notices before it is rescued.
            Role::Beat => 5,
            // What is not passed on now is passed on a second later.
            Role::Live => 3,
            Role::Claim => 10,
            Role::Finish | Role::General | Role::Rescue | Role::State | Role::Doubt => 30,
            Role::Bulk => 300,
        })
    }

    /// Session settings. The claim and finish statements have one good plan
    /// each, whatever the statistics say about tables that fill and empty all
    /// the time: no sequential scan, no hash over a whole table.
    fn settings(self) -> &'static str {
        match self {
            Role::Claim | Role::Finish => {
                "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_mergejoin = off; SET jit = off; \
                 SET idle_in_transaction_session_timeout = '10s'"
            }
            _ => "SET jit = off; SET idle_in_transaction_session_timeout = '10s'",
        }
    }
}

impl Store {
    /// Reaches the database once, so that a wrong address is told at start.
    /// Does not look at the schema: see [`Store::check_schema`].
    pub async fn connect(config: DatabaseConfig) -> Result<Store, StoreError> {
        let tls = super::tls::connector(&config)?;
        let inner = Inner {
            pools: Arc::new(Pools::new(config.clone(), tls.clone())),
            tls,
            config,
            sessions: Default::default(),
            live: StdMutex::default(),
            ticket: Ticket::new()?,
            orphans_looked: AtomicU64::new(0),
            born: Instant::now(),
        };
        let store = Store {
            inner: Arc::new(inner),
        };
        store.ping().await?;
        Ok(store)
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &DatabaseConfig {
        &self.inner.config
    }

    /// One round trip, for health checks.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut lease = self.lease(Role::General, "ping").await?;
        lease.batch(include_str!("sql/ping.sql")).await
    }

    /// The session of a role, alone for the caller until dropped.
    pub(super) async fn lease(
        &self,
        role: Role,
        verb: &'static str,
    ) -> Result<Lease<'_>, StoreError> {
        let mut slot = self.inner.sessions[role as usize].lock().await;
        let session = match slot.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => self.open(role).await?,
        };
        Ok(Lease {
            slot,
            session: Some(session),
            clean: true,
            open: false,
            schema: self.inner.config.schema.as_str(),
            patience: role.patience(),
            verb,
        })
    }

    /// One statement on the session of a role.
    pub(super) async fn run(
        &self,
        role: Role,
        verb: &'static str,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        self.lease(role, verb).await?.query(sql, params).await
    }

    pub(super) fn live(&self) -> std::sync::MutexGuard<'_, LiveClaims> {
        self.inner
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What this process shows where its claims are not proof enough.
    pub(super) fn ticket(&self) -> &Ticket {
        &self.inner.ticket
    }

    pub(super) fn pools(&self) -> &Arc<Pools> {
        &self.inner.pools
    }

    /// Whether it is time to look for claims without a runner, which reads the whole table.
    pub(super) fn look_for_orphans(&self) -> bool {
        const EVERY_MS: u64 = 30_000;
        let now = u64::try_from(self.inner.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.inner.orphans_looked.load(Ordering::Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= EVERY_MS;
        if due {
            self.inner
                .orphans_looked
                .store(now.max(1), Ordering::Relaxed);
        }
        due
    }

    async fn open(&self, role: Role) -> Result<Session, StoreError> {
        let config = &self.inner.config;
        let (client, connection) = self.raw().await?;
        tokio::spawn(async move {
            // The statement under way reports the error.
            connection.await.ok();
        });
        let session = Session {
            client,
            statements: (!config.poll_only).then(HashMap::new),
            config: self.inner.config.clone(),
        };
        if !config.poll_only {
            // The server gives up first: a statement that we left alone but that
            // still waits there could take effect after its repetition did.
            let settings = format!(
                "{}; SET statement_timeout = '{}ms'",
                role.settings(),
                role.patience().as_millis() * 9 / 10
            );
            session
                .client
                .batch_execute(&settings)
                .await
                .map_err(|error| classify_connect(config.place(), &error))?;
        }
        Ok(session)
    }

    async fn raw(&self) -> Result<(Client, Connection), StoreError> {
        let config = &self.inner.config;
        let hosts = u32::try_from(config.postgres.get_hosts().len().max(1)).unwrap_or(1);
        let attempt = config.postgres.connect(self.inner.tls.clone());
        match tokio::time::timeout(config.connect_timeout * hosts, attempt).await {
            Ok(Ok(pair)) => Ok(pair),
            Ok(Err(error)) => Err(classify_connect(config.place(), &error)),
            Err(_) => Err(StoreError::Unreachable {
                place: config.place(),
                message: format!("no answer within {:?}", config.connect_timeout * hosts),
            }),
        }
    }

    /// A connection of its own whose notifications (channel, payload) are
    /// handed to `hear`, and `None` when it ends. The plain future of a
    /// connection drops them.
    pub(super) async fn open_hearing(
        &self,
        mut hear: impl FnMut(Option<(&str, &str)>) + Send + 'static,
    ) -> Result<Client, StoreError> {
        let (client, mut connection) = self.raw().await?;
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(note) = message {
                    hear(Some((note.channel(), note.payload())));
                }
            }
            hear(None);
        });
        Ok(client)
    }
}

type Connection = tokio_postgres::Connection<
    tokio_postgres::Socket,
    <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket>>::Stream,
>;

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.inner.config).finish()
    }
}

struct Session {
    client: Client,
    /// Prepared statements by name; `None` behind a pooler, which may give
    /// each transaction another server connection.
    statements: Option<HashMap<&'static str, Statement>>,
    config: DatabaseConfig,
}

/// A session, alone for one verb.
pub(super) struct Lease<'a> {
    slot: MutexGuard<'a, Option<Session>>,
    session: Option<Session>,
    /// No statement is under way.
    clean: bool,
    /// A transaction is open.
    open: bool,
    schema: &'a str,
    patience: Duration,
    verb: &'static str,
}

impl Lease<'_> {
    /// Runs a statement of `store/sql/`.
    pub(super) async fn query(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let session = self.session.as_mut().expect("taken only by drop");
        self.clean = false;
        let outcome = tokio::time::timeout(self.patience, session.query(sql, params)).await;
        self.settle(outcome)
    }

    /// Runs SQL text without parameters.
    pub(super) async fn batch(&mut self, text: &str) -> Result<(), StoreError> {
        let session = self.session.as_mut().expect("taken only by drop");
        self.clean = false;
        let outcome = tokio::time::timeout(self.patience, session.client.batch_execute(text)).await;
        self.settle(outcome)
    }

    /// Opens a transaction. Dropping the lease before [`Lease::commit`] rolls back.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        self.open = true;
        self.batch("BEGIN ISOLATION LEVEL READ COMMITTED").await
    }

    /// Commits. After an error nobody knows whether it was committed.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        self.batch("COMMIT").await?;
        self.open = false;
        Ok(())
    }

    /// Rolls back, to keep the connection after a refused statement.
    pub(super) async fn rollback(&mut self) -> Result<(), StoreError> {
        self.batch("ROLLBACK").await?;
        self.open = false;
        Ok(())
    }

    fn settle<T>(
        &mut self,
        outcome: Result<Result<T, tokio_postgres::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, StoreError> {
        match outcome {
            Ok(Ok(value)) => {
                self.clean = true;
                Ok(value)
            }
            Ok(Err(error)) => {
                // A server that became read-only is not the one to talk to any
                // more, and prepared statements may be those of an older schema.
                self.clean = error
                    .as_db_error()
                    .is_some_and(|db| !["25006", "0A000", "26000"].contains(&db.code().code()));
                Err(classify(self.verb, self.schema, &error))
            }
            Err(_) => Err(StoreError::Transient {
                verb: self.verb,
                message: format!("no answer within {:?}", self.patience),
            }),
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.clean && !self.open {
            *self.slot = self.session.take();
        }
    }
}

impl Session {
    async fn query(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let schema = &self.config.schema;
        let Some(statements) = &mut self.statements else {
            let typed: Vec<_> = params.iter().copied().zip(sql.types()).collect();
            return self
                .client
                .query_typed(&schema.render(&sql.text), &typed)
                .await;
        };
        let statement = match sql.name.and_then(|name| statements.get(name)) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.client.prepare(&schema.render(&sql.text)).await?;
                if let Some(name) = sql.name {
                    statements.insert(name, statement.clone());
                }
                statement
            }
        };
        self.client.query(&statement, params).await
    }
}
