//! The store's connections: one for each role, opened on demand and reopened when lost.
//!
//! A verb leases its role's session and returns it clean. A session with a running statement or
//! an open transaction is never returned: a verb whose future is dropped costs a new connection,
//! and the server rolls back.
//!
//! A new connection may reach a different server than the previous one, a promoted standby,
//! which may lack transactions that the old one had acknowledged. So a new connection for claims
//! makes sure that no claim id is used twice, and a new one for the heartbeat makes it look at
//! all claims.
//!
//! `lease.rs` handles a server that has no connection left.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Instant;

use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connect::claims::LiveClaims;
use crate::connect::config::DatabaseConfig;
use crate::connect::dial::{dial, dial_raw, is_pooled};
use crate::connect::error::{NO_CONNECTION, StoreError, classify, classify_connect};
use crate::connect::role::{LOCK_WAIT, ROLES, Role};
use crate::connect::session::{Session, within};
use crate::connect::settings;
use crate::connect::shortage::Shortage;
use crate::connect::stride::Stride;
use crate::connect::ticket::Ticket;
use crate::connect::unreadable::Unreadable;
use crate::handler_sql::pool::Pools;
use crate::sql::{Sql, sql};

/// A handle on the queue. Cheap to clone; connections are opened on demand and reopened when
/// lost.
#[derive(Clone)]
pub struct Store {
    inner: Arc<StoreInner>,
}

struct StoreInner {
    config: DatabaseConfig,
    tls: MakeRustlsConnect,
    sessions: [Mutex<Option<Session>>; ROLES],
    live: StdMutex<LiveClaims>,
    ticket: Ticket,
    /// Connections of handlers' SQL, opened on a handler's first use.
    pools: Arc<Pools>,
    /// When rescue last looked for orphans, in milliseconds after `born`.
    orphans_looked: AtomicU64,
    born: Instant,
    /// From how many outcomes on they are copied.
    many: AtomicUsize,
    stride: Stride,
    shortage: Shortage,
    unreadable: Unreadable,
    unreadable_claims: Unreadable,
    n_listening: AtomicUsize,
}

/// From how many outcomes on COPY is used. With fewer, the round trips cost more than they save.
pub(crate) const MANY: usize = 50;

/// Claim ids that one statement takes at most, to pass those that were used.
const MOST_IDS: i64 = 100_000;

impl Store {
    /// Connects once, so that a wrong address is reported at start. Does not check the schema:
    /// see [`Store::check_schema`]. Behind a pooler it runs without LISTEN and without any other
    /// session state, as with `poll_only`.
    pub async fn connect(mut config: DatabaseConfig) -> Result<Store, StoreError> {
        let tls = crate::connect::tls::connector(&config)?;
        let first = dial(&config, &tls).await?;
        if !config.poll_only && !config.pooler_is_known {
            config.poll_only = is_pooled(&config, &first).await?;
        }
        let inner = StoreInner {
            pools: Arc::new(Pools::new(config.clone(), tls.clone())),
            tls,
            config,
            sessions: Default::default(),
            live: StdMutex::default(),
            ticket: Ticket::new()?,
            orphans_looked: AtomicU64::new(0),
            born: Instant::now(),
            many: AtomicUsize::new(MANY),
            stride: Stride::default(),
            shortage: Shortage::default(),
            unreadable: Unreadable::default(),
            unreadable_claims: Unreadable::default(),
            n_listening: AtomicUsize::new(0),
        };
        let store = Store {
            inner: Arc::new(inner),
        };
        let session = store.prepare_session(Role::General, first).await?;
        *store.inner.sessions[Role::General as usize].lock().await = Some(session);
        store.ping().await?;
        Ok(store)
    }

    /// The configuration of this store.
    pub fn config(&self) -> &DatabaseConfig {
        &self.inner.config
    }

    /// One round trip, for health checks.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut lease = self.lease(Role::General, "ping").await?;
        lease.batch(include_str!("../sql/ping.sql")).await
    }

    pub(crate) fn sessions(&self) -> &[Mutex<Option<Session>>; ROLES] {
        &self.inner.sessions
    }

    pub(crate) fn unreadable(&self) -> &Unreadable {
        &self.inner.unreadable
    }

    pub(crate) fn unreadable_claims(&self) -> &Unreadable {
        &self.inner.unreadable_claims
    }

    pub(crate) fn shortage(&self) -> &Shortage {
        &self.inner.shortage
    }

    /// Whether there is a listening connection.
    pub(crate) fn is_listening(&self) -> bool {
        self.inner.n_listening.load(Ordering::Relaxed) > 0
    }

    /// One statement on the session of a role.
    pub(crate) async fn run(
        &self,
        role: Role,
        verb: &'static str,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        self.lease(role, verb).await?.query(sql, params).await
    }

    pub(crate) fn live(&self) -> std::sync::MutexGuard<'_, LiveClaims> {
        self.inner
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// From how many outcomes on they are copied.
    pub(crate) fn many(&self) -> usize {
        self.inner.many.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn set_many(&self, many: usize) {
        self.inner.many.store(many, Ordering::Relaxed);
    }

    /// What this process presents where its claims are not sufficient proof.
    pub(crate) fn ticket(&self) -> &Ticket {
        &self.inner.ticket
    }

    /// How much is rescued in one statement.
    pub(crate) fn stride(&self) -> &Stride {
        &self.inner.stride
    }

    pub(crate) fn pools(&self) -> &Arc<Pools> {
        &self.inner.pools
    }

    /// Whether it is time to look for claims without a runner, which reads the whole table.
    pub(crate) fn is_orphan_search_due(&self) -> bool {
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

    pub(crate) async fn open(&self, role: Role) -> Result<Session, StoreError> {
        let client = dial(&self.inner.config, &self.inner.tls).await?;
        self.prepare_session(role, client).await
    }

    /// Prepares a new connection for a role.
    async fn prepare_session(&self, role: Role, client: Client) -> Result<Session, StoreError> {
        let config = &self.inner.config;
        let mut session = Session {
            client,
            statements: (!config.poll_only).then(HashMap::new),
            config: self.inner.config.clone(),
            used: Instant::now(),
        };
        if !config.poll_only {
            let settings = settings::for_session(within(role.patience()));
            let mut settings = format!("{}{settings}", role.settings());
            if role == Role::Finish {
                let lock_ms = LOCK_WAIT.as_millis();
                settings.push_str(&format!("; SET lock_timeout = '{lock_ms}ms'"));
            }
            session
                .client
                .batch_execute(&settings)
                .await
                .map_err(|error| classify_connect(config.place(), &error))?;
        }
        match role {
            Role::Beat => self.live().suspect(),
            Role::Claim => self.advance_claim_ids(&mut session).await?,
            _ => {}
        }
        Ok(session)
    }

    /// Makes sure that future claim ids differ from those of claims that this process has had:
    /// after a failover the sequence may have gone back, and an outcome under an old claim would
    /// be accepted for the new one.
    async fn advance_claim_ids(&self, session: &mut Session) -> Result<(), StoreError> {
        let newest = self.live().newest();
        if newest == 0 {
            return Ok(());
        }
        let mut n_ids = 1;
        loop {
            let rows = session
                .query(sql!("claim_ids"), &[&n_ids])
                .await
                .map_err(|error| {
                    classify("take claim ids", self.inner.config.schema.as_str(), &error)
                })?;
            let id: i64 = rows[0].get("id");
            if id > newest {
                return Ok(());
            }
            n_ids = (newest - id).clamp(1, MOST_IDS);
            tracing::warn!(
                claim = id,
                newest,
                "this database lacks claims that it, or its predecessor, has assigned: skipping their ids"
            );
        }
    }

    /// Opens a separate connection and passes its notifications (channel, payload) to `hear`,
    /// and `None` when it ends. The plain future of a connection drops them. None is opened
    /// while connections are short.
    pub(crate) async fn open_listener(
        &self,
        mut hear: impl FnMut(Option<(&str, &str)>) + Send + 'static,
    ) -> Result<Client, StoreError> {
        let config = &self.inner.config;
        let config = config.listen.as_deref().unwrap_or(config);
        if self.shortage().is_recent() {
            return Err(StoreError::Unreachable {
                place: config.place(),
                message: "connections are short: the listener leaves its connection to claims and outcomes"
                    .to_owned(),
                hint: Some(NO_CONNECTION),
            });
        }
        let tls = crate::connect::tls::connector(config)?;
        let (client, mut connection) = dial_raw(config, &tls).await?;
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            inner.n_listening.fetch_add(1, Ordering::Relaxed);
            loop {
                let message = tokio::select! {
                    message = poll_fn(|cx| connection.poll_message(cx)) => message,
                    () = inner.shortage.give_up.notified() => break,
                };
                match message {
                    Some(Ok(AsyncMessage::Notification(note))) => {
                        hear(Some((note.channel(), note.payload())));
                    }
                    Some(Ok(_)) => {}
                    _ => break,
                }
            }
            inner.n_listening.fetch_sub(1, Ordering::Relaxed);
            hear(None);
        });
        Ok(client)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.inner.config).finish()
    }
}
