//! Connections that are kept for the next request to the same server.
//!
//! A connection is kept if its answer was read to the end without an error, and only for
//! the same plugin, under the same grants. Few are kept, for a short time: servers keep
//! theirs for 5 s or longer, so a request rarely uses a connection that its server is
//! closing. A kept connection holds its permit, and is closed when another request needs
//! the permit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::capability::http::budget::BudgetSlot;
use crate::capability::http::message::Body;
use crate::net::network::IdleConnections;
use crate::net::permit::ConnectionPermit;
use pgtq_task::GrantBook;

/// How long a connection is kept.
const IDLE: Duration = Duration::from_secs(4);
/// Maximum number of kept connections, of one plugin and of all.
const PER_PLUGIN: usize = 8;
const OF_ALL: usize = 64;

/// The requests that may use a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReuseKey {
    pub(super) plugin: Arc<str>,
    /// `https://api.example.com`.
    pub(super) origin: String,
    /// Whether the rule named the host: requests under other rules may not reach every
    /// address that this one may.
    pub(super) named: bool,
}

/// An open connection and its resources. Dropping it closes it.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Body>,
    /// Reads and writes for as long as the connection is open.
    pub(super) _driver: AbortOnDropHandle<()>,
    /// Whose bytes pass through it.
    pub(super) slot: Arc<BudgetSlot>,
    pub(super) _permit: ConnectionPermit,
    pub(super) key: ReuseKey,
    /// The grants under which its addresses were checked.
    pub(super) book: Weak<GrantBook>,
}

/// The kept connections of a runner, the oldest first.
#[derive(Default)]
pub(crate) struct Idle {
    kept: Mutex<VecDeque<(Instant, Connection)>>,
}

impl Idle {
    /// A connection that a request with this key may use.
    pub(super) fn take(&self, key: &ReuseKey, book: &Arc<GrantBook>) -> Option<Connection> {
        let mut closed = Vec::new();
        let mut kept = self.lock();
        // The newest is the least likely to be closed by its server.
        while let Some(at) = kept.iter().rposition(|(_, c)| c.key == *key) {
            let (since, connection) = kept.remove(at)?;
            let same = connection.book.as_ptr() == Arc::as_ptr(book);
            if same && since.elapsed() < IDLE && connection.sender.is_ready() {
                return Some(connection);
            }
            closed.push(connection);
        }
        // Dropping their permits wakes waiters: not under the lock.
        drop(kept);
        None
    }

    /// Keeps a connection for a while.
    fn keep(self: &Arc<Self>, connection: Connection) {
        let mut closed = Vec::new();
        let mut kept = self.lock();
        let plugin = Arc::clone(&connection.key.plugin);
        kept.push_back((Instant::now(), connection));
        let of_plugin = kept.iter().filter(|(_, c)| c.key.plugin == plugin).count();
        if of_plugin > PER_PLUGIN
            && let Some(at) = kept.iter().position(|(_, c)| c.key.plugin == plugin)
        {
            closed.extend(kept.remove(at));
        }
        if kept.len() > OF_ALL {
            closed.extend(kept.pop_front());
        }
        drop(kept);
        drop(closed);
        let idle = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(IDLE).await;
            if let Some(idle) = idle.upgrade() {
                idle.expire();
            }
        });
    }

    /// Closes connections whose time has passed.
    fn expire(&self) {
        let mut closed = Vec::new();
        let mut kept = self.lock();
        while kept
            .front()
            .is_some_and(|(since, _)| since.elapsed() >= IDLE)
        {
            closed.extend(kept.pop_front());
        }
        drop(kept);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Connection)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of kept connections.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

impl IdleConnections for Idle {
    fn give_up_one(&self, plugin: &str) -> bool {
        let mut kept = self.lock();
        let own = kept.iter().position(|(_, c)| &*c.key.plugin == plugin);
        let given_up = kept.remove(own.unwrap_or(0));
        drop(kept);
        given_up.is_some()
    }
}

/// A connection in use by one request. It is closed on drop, unless the answer was read
/// to its end before.
pub(super) struct InUse {
    connection: Mutex<Option<Connection>>,
    idle: Arc<Idle>,
}

impl InUse {
    pub(super) fn new(connection: Connection, idle: Arc<Idle>) -> Arc<InUse> {
        Arc::new(InUse {
            connection: Mutex::new(Some(connection)),
            idle,
        })
    }

    /// Keeps the connection for another request, as soon as it is ready for one.
    pub(super) fn finished(&self) {
        let connection = self.take();
        let Some(mut connection) = connection.filter(|c| !c.slot.is_spent()) else {
            return;
        };
        let idle = Arc::clone(&self.idle);
        tokio::spawn(async move {
            // It is ready once the driver has seen the end. If the request is not fully
            // sent, or the server closes, it never is.
            let ready = connection.sender.ready();
            if let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(100), ready).await {
                connection.slot.close();
                idle.keep(connection);
            }
        });
    }

    /// Closes it.
    pub(super) fn close(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<Connection> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connection.take()
    }
}
