//! Pools of connections for handlers' SQL, one pool per grant.
//!
//! An attempt waits for a free connection, at most for its remaining run time. Idle connections
//! are kept for a minute.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connect::config::DatabaseConfig;
use crate::handler_sql::dialer::Dialer;
use crate::handler_sql::session::HandlerSession;
use pgtq_task::{GuestError, SqlGrant};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// Time limit for resetting a connection for the next attempt.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pools of one store.
pub(in super::super) struct Pools {
    dialer: Dialer,
    pools: Mutex<Vec<Arc<Pool>>>,
}

/// The connections of one role.
pub(super) struct Pool {
    grant: SqlGrant,
    dialer: Dialer,
    free: Arc<Semaphore>,
    idle: Mutex<Vec<(HandlerSession, Instant)>>,
    reaping: AtomicBool,
}

impl Pools {
    pub(in super::super) fn new(config: DatabaseConfig, tls: MakeRustlsConnect) -> Self {
        Pools {
            dialer: Dialer { config, tls },
            pools: Mutex::default(),
        }
    }

    /// The pool for a grant. A different role, password or count gives a different pool.
    pub(super) fn of(&self, grant: &SqlGrant) -> Arc<Pool> {
        let mut pools = lock(&self.pools);
        let same = |pool: &&Arc<Pool>| {
            pool.grant.role == grant.role
                && pool.grant.password == grant.password
                && pool.grant.connections == grant.connections
        };
        if let Some(pool) = pools.iter().find(same) {
            return Arc::clone(pool);
        }
        // Grants change now and then; unused pools are dropped.
        pools.retain(|pool| Arc::strong_count(pool) > 1 || !lock(&pool.idle).is_empty());
        let pool = Arc::new(Pool {
            grant: grant.clone(),
            dialer: self.dialer.clone(),
            free: Arc::new(Semaphore::new(grant.connections.max(1) as usize)),
            idle: Mutex::default(),
            reaping: AtomicBool::new(false),
        });
        pools.push(Arc::clone(&pool));
        pool
    }

    /// Closes one connection that no attempt holds. Returns whether there was one.
    pub(in super::super) fn close_one(&self) -> bool {
        lock(&self.pools)
            .iter()
            .any(|pool| lock(&pool.idle).pop().is_some())
    }
}

impl Pool {
    /// A connection within `patience`: an idle one, or a new one.
    pub(super) async fn take(&self, patience: Duration) -> Result<HandlerSession, GuestError> {
        let began = Instant::now();
        let waiting = tokio::time::timeout(patience, Arc::clone(&self.free).acquire_owned());
        let Ok(Ok(permit)) = waiting.await else {
            return Err(self.no_free_connection(patience));
        };
        let mut session = match self.take_idle() {
            Some(session) => session,
            None => {
                let left = patience.saturating_sub(began.elapsed());
                let opening = Box::pin(HandlerSession::open(&self.dialer, &self.grant));
                let Ok(opened) = tokio::time::timeout(left, opening).await else {
                    return Err(GuestError::new(
                        "timeout",
                        "the database did not answer in time",
                    ));
                };
                opened?
            }
        };
        session.permit = Some(permit);
        Ok(session)
    }

    /// Returns a connection in the background: rolls back the open transaction, resets the
    /// settings that the handler may have changed, and keeps it for the next attempt.
    pub(super) fn release(self: Arc<Self>, mut session: HandlerSession) {
        session.forget_prepared();
        // Behind a pooler the next transaction may be on another connection: there is nothing to
        // reset, and closing this one rolls back.
        if self.dialer.config.poll_only || !session.is_fit() {
            return;
        }
        tokio::spawn(async move {
            let reset = include_str!("../sql/attempt_reset.sql");
            if session.batch(reset, PATIENCE).await.is_err() || !session.is_fit() {
                return;
            }
            let permit = session.permit.take();
            lock(&self.idle).push((session, Instant::now()));
            drop(permit);
            self.reap_later();
        });
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.dialer.config.poll_only
    }

    fn take_idle(&self) -> Option<HandlerSession> {
        let mut idle = lock(&self.idle);
        while let Some((session, _)) = idle.pop() {
            if session.is_fit() {
                return Some(session);
            }
        }
        None
    }

    /// Closes idle connections when their time is over; one background task for each pool.
    fn reap_later(self: Arc<Self>) {
        if self.reaping.swap(true, Relaxed) {
            return;
        }
        let pool = Arc::downgrade(&self);
        drop(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(IDLE / 2).await;
                let Some(pool) = pool.upgrade() else { return };
                let mut idle = lock(&pool.idle);
                idle.retain(|(session, since)| session.is_fit() && since.elapsed() < IDLE);
                if idle.is_empty() {
                    // Under the lock: a connection that is returned after this starts a new
                    // reaper.
                    pool.reaping.store(false, Relaxed);
                    return;
                }
            }
        });
    }

    fn no_free_connection(&self, waited: Duration) -> GuestError {
        GuestError::new(
            "timeout",
            format!(
                "no connection for SQL became free within {} ms: the grant allows {} at a time to the role {}; raise its `connections`, or run fewer such tasks at once",
                waited.as_millis(),
                self.grant.connections.max(1),
                self.grant.role
            ),
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
