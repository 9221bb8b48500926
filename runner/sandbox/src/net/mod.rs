//! The sandbox's network access: one connection to one destination that the rules allow,
//! with its addresses checked.
//!
//! ```text
//! Destination ─ resolve (once) ─ check every address ─► [SocketAddr] ─ dial ─► TcpStream
//! ```
//!
//! Guarantees: only checked addresses are dialled, so a DNS answer that changes between
//! the check and the connection has no effect; if one of a name's addresses is denied,
//! all are; there are never more connections at a time than [`CONNECTIONS`], and never
//! more lookup threads than [`LOOKUPS`]; plugins share both fairly, so that none can
//! block another. Does not use HTTP or sockets of a guest.

mod dial;
mod resolve;
#[cfg(test)]
pub(crate) mod scripted;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::capability::http::reuse::Idle;
use crate::fair::{FairPermit, FairSemaphore};
pub(crate) use dial::dial;
use pgtq_task::{AddressKind, Destination, HttpProxy, Network};
pub(crate) use resolve::{Resolver, SystemResolver};

/// Connections of one runner at a time, all its plugins together. Half of the 1,024 files
/// that a process may usually open. A plugin that holds its full share waits, until the
/// deadline of the attempt.
pub(crate) const CONNECTIONS: usize = 512;
/// Names that one runner looks up at a time. Each lookup occupies a thread until the name
/// server answers, and the runner needs its threads (tokio has 512) for other work too.
const LOOKUPS: usize = 32;
/// Maximum number of addresses of one name; a longer answer is rejected as a whole.
const ADDRESSES: usize = 64;

/// The network state shared by all attempts of a runner.
pub(crate) struct Net {
    resolver: Arc<dyn Resolver>,
    connections: Arc<FairSemaphore>,
    lookups: Arc<FairSemaphore>,
    /// HTTP connections that wait for another request.
    pub(crate) idle: Arc<Idle>,
    /// Made with the first connection that needs it: reads files.
    tls: OnceCell<TlsConnector>,
}

/// A permit for one connection. Held while the connection is open.
pub(crate) type ConnectionPermit = FairPermit;

/// A permit for one concurrent operation of an attempt. Every worker of the operation has
/// a clone; a thread that looks up a name keeps one until it is done, even if its caller
/// has gone.
pub(crate) type RequestPermit = Arc<OwnedSemaphorePermit>;

/// Waits for a permit until the deadline. Cancel-safe.
pub(crate) async fn permit(
    semaphore: &Arc<Semaphore>,
    deadline: Instant,
) -> Option<OwnedSemaphorePermit> {
    let permit = Arc::clone(semaphore).acquire_owned();
    match tokio::time::timeout_at(deadline, permit).await {
        // Permits end with their attempt: one granted at the deadline itself is useless.
        Ok(Ok(permit)) if Instant::now() < deadline => Some(permit),
        // The semaphore is never closed.
        Ok(_) | Err(_) => None,
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetError {
    /// Not a host that can be looked up.
    #[error("{0}")]
    BadHost(String),
    /// The resolver failed, or knows no such name.
    #[error("look up `{host}`: {reason}")]
    Lookup { host: String, reason: String },
    /// A name that resolves to a denied address.
    #[error("{}", prohibited(host, *address, *kind))]
    Prohibited {
        host: String,
        address: IpAddr,
        kind: AddressKind,
    },
    /// No address answered.
    #[error("connect to {address}: {source}")]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
    /// The time limit has passed.
    #[error("no connection within the time limit")]
    Timeout,
    /// The plugin had its share of the runner's connections open until the deadline.
    #[error(
        "the plugin has its share of the runner's {CONNECTIONS} connections open; close some, or run fewer of its tasks at a time"
    )]
    NoConnection,
    /// The plugin had its share of the runner's lookups running until the deadline.
    #[error(
        "the plugin has its share of the runner's {LOOKUPS} name lookups in progress; the name server is slow, or does not answer"
    )]
    NoLookup,
    /// This machine has no trusted certificate authorities.
    #[error("{0}")]
    Tls(String),
}

fn prohibited(host: &str, address: IpAddr, kind: AddressKind) -> String {
    let kind = kind.as_str();
    match host.trim_matches(['[', ']']) == address.to_string() {
        true => format!("{address} is {kind}"),
        false => format!("`{host}` resolves to {address}, {kind}"),
    }
}

impl NetError {
    /// The line to add below `[grants.NAME]` so that a denied address, and no other, may
    /// be reached beside the networks that are granted already. None for addresses that
    /// must never be suggested.
    pub(crate) fn grant(&self, granted: &[Network]) -> Option<String> {
        let NetError::Prohibited { address, kind, .. } = self else {
            return None;
        };
        match kind {
            AddressKind::Public
            | AddressKind::Metadata
            | AddressKind::Unspecified
            | AddressKind::Multicast
            | AddressKind::Broadcast => return None,
            _ => {}
        }
        // This address and no other: the operator may write a wider one.
        let only = Network::Block((*address).into());
        let networks: Vec<String> = granted
            .iter()
            .chain([&only])
            .map(|network| format!("\"{network}\""))
            .collect();
        Some(format!("networks = [{}]", networks.join(", ")))
    }
}

impl Net {
    /// With the resolver of this machine.
    pub(crate) fn system() -> Arc<Net> {
        Net::new(Arc::new(SystemResolver), CONNECTIONS)
    }

    /// With a given resolver and limit of connections.
    pub(crate) fn new(resolver: Arc<dyn Resolver>, connections: usize) -> Arc<Net> {
        Arc::new(Net {
            resolver,
            connections: FairSemaphore::new(connections),
            lookups: FairSemaphore::new(LOOKUPS),
            idle: Arc::default(),
            tls: OnceCell::new(),
        })
    }

    /// Trusts these certificate authorities in place of the system's.
    #[cfg(test)]
    pub(crate) fn trust(&self, roots: rustls::RootCertStore) {
        let connector = tls::trusting(roots).expect("a configuration");
        assert!(self.tls.set(connector).is_ok(), "set once");
    }

    /// TLS with the system's certificate authorities. Cancel-safe.
    pub(crate) async fn tls(&self) -> Result<TlsConnector, NetError> {
        let made = self.tls.get_or_try_init(async || {
            let made = tokio::task::spawn_blocking(tls::system).await;
            made.unwrap_or_else(|error| Err(error.to_string()))
        });
        made.await.cloned().map_err(NetError::Tls)
    }

    /// Waits until `plugin` may open one more connection. Cancel-safe.
    pub(crate) async fn connection(
        &self,
        plugin: &Arc<str>,
        deadline: Instant,
    ) -> Result<ConnectionPermit, NetError> {
        // An idle connection is closed in favour of one that is needed.
        while !self.connections.may_take(plugin) && self.idle.give_up_one(plugin) {}
        let permit = self.connections.acquire(plugin, deadline).await;
        permit.ok_or(NetError::NoConnection)
    }

    /// Resolves a destination once and checks every address; returns none if one of them
    /// is denied. An address is not resolved, only checked. A lookup thread keeps `turn`
    /// until it is done. Cancel-safe.
    pub(crate) async fn resolve(
        &self,
        plugin: &Arc<str>,
        to: &Destination,
        networks: &[Network],
        turn: Option<RequestPermit>,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, NetError> {
        let addresses = match to.literal().map_err(NetError::BadHost)? {
            Some(address) => vec![address],
            None => self.lookup(plugin, &to.host, turn, deadline).await?,
        };
        for address in &addresses {
            if !to.may_reach(*address, networks) {
                return Err(NetError::Prohibited {
                    host: to.host.clone(),
                    address: *address,
                    kind: AddressKind::of(*address),
                });
            }
        }
        let with_port = |address| SocketAddr::new(address, to.port);
        Ok(addresses.into_iter().map(with_port).collect())
    }

    /// Resolves the operator's proxy, whose address is not restricted. Cancel-safe.
    pub(crate) async fn resolve_proxy(
        &self,
        plugin: &Arc<str>,
        proxy: &HttpProxy,
        turn: Option<RequestPermit>,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, NetError> {
        let to = Destination {
            host: proxy.host.clone(),
            port: proxy.port,
            named: true,
        };
        let addresses = match to.literal().map_err(NetError::BadHost)? {
            Some(address) => vec![address],
            None => self.lookup(plugin, &to.host, turn, deadline).await?,
        };
        let with_port = |address| SocketAddr::new(address, to.port);
        Ok(addresses.into_iter().map(with_port).collect())
    }

    async fn lookup(
        &self,
        plugin: &Arc<str>,
        host: &str,
        turn: Option<RequestPermit>,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, NetError> {
        let failed = |reason: String| NetError::Lookup {
            host: host.to_owned(),
            reason,
        };
        let permit = self.lookups.acquire(plugin, deadline).await;
        let permit = permit.ok_or(NetError::NoLookup)?;
        let (resolver, name) = (Arc::clone(&self.resolver), host.to_owned());
        let asking = tokio::task::spawn_blocking(move || {
            // Held by the thread rather than the caller: the lookup continues when the
            // caller has gone.
            let _kept = (permit, turn);
            resolver.lookup(&name)
        });
        let found = tokio::time::timeout_at(deadline, asking).await;
        let found = found.map_err(|_elapsed| NetError::Timeout)?;
        let found = found.map_err(|error| failed(error.to_string()))?;
        let addresses = found.map_err(|error| failed(error.to_string()))?;
        match addresses.len() {
            0 => Err(failed("the name has no address".to_owned())),
            n if n > ADDRESSES => Err(failed(format!("the name has {n} addresses"))),
            _ => Ok(addresses),
        }
    }
}

#[cfg(test)]
mod tests;
