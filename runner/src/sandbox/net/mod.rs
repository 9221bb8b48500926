//! The way out of the sandbox: one connection to one destination that the
//! rules allow, with its addresses checked.
//!
//! ```text
//! Destination ─ resolve (once) ─ check every address ─► [SocketAddr] ─ dial ─► TcpStream
//! ```
//!
//! Promises: only addresses that were checked are dialled, so an answer that
//! changes between the check and the connection changes nothing; if one of a
//! name's addresses is refused, all are; never more connections at a time than
//! [`CONNECTIONS`]. Knows nothing of HTTP or sockets of a guest.

mod dial;
mod resolve;
#[cfg(test)]
pub(super) mod scripted;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::task::{AddressKind, Destination, Network};
pub(super) use dial::dial;
pub(super) use resolve::{Resolver, SystemResolver};

/// Connections of one runner at a time, all its attempts together. Half of the
/// 1,024 files that a process may usually open; who comes later waits, until
/// its own deadline.
pub(super) const CONNECTIONS: usize = 512;
/// Addresses of one name that are looked at; the rest of a longer answer makes
/// the whole answer suspect.
const ADDRESSES: usize = 64;

/// What all attempts of a runner share on their way out.
pub(super) struct Net {
    resolver: Arc<dyn Resolver>,
    connections: Arc<Semaphore>,
    /// Made with the first connection that needs it: reads files.
    tls: OnceCell<TlsConnector>,
}

/// Room for one more connection. Held for as long as the connection is open.
pub(super) type Room = OwnedSemaphorePermit;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetError {
    /// Not a host that is looked up.
    #[error("{0}")]
    BadHost(String),
    /// The resolver failed, or knows no such name.
    #[error("look up `{host}`: {reason}")]
    Lookup { host: String, reason: String },
    /// A name that leads where the attempt must not go.
    #[error("{}", prohibited(host, *address, *kind))]
    Prohibited {
        host: String,
        address: IpAddr,
        kind: AddressKind,
    },
    /// Nobody answered at any of the addresses.
    #[error("connect to {address}: {source}")]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
    /// The time for it was over.
    #[error("no connection within the time for it")]
    Timeout,
    /// The time was over before the runner had room for one more connection.
    #[error("the runner has {CONNECTIONS} connections open, which is its limit")]
    NoRoom,
    /// This machine trusts nobody.
    #[error("{0}")]
    Tls(String),
}

fn prohibited(host: &str, address: IpAddr, kind: AddressKind) -> String {
    let kind = kind.as_str();
    match host.trim_matches(['[', ']']) == address.to_string() {
        true => format!("{address} is {kind}"),
        false => format!("`{host}` leads to {address}, {kind}"),
    }
}

impl NetError {
    /// The line to paste below `[grants.NAME]` so that a refused address may
    /// be reached, beside the networks that are granted already. None for
    /// addresses that nobody should be led to allow.
    pub(super) fn grant(&self, granted: &[Network]) -> Option<String> {
        let NetError::Prohibited { address, kind, .. } = self else {
            return None;
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let only = Network::Block(*address, bits);
        let (network, hint) = match kind {
            AddressKind::Public
            | AddressKind::Metadata
            | AddressKind::Unspecified
            | AddressKind::Multicast
            | AddressKind::Broadcast => return None,
            AddressKind::Loopback => (Network::Loopback, String::new()),
            AddressKind::Private => (Network::Private, format!(" # or only \"{only}\"")),
            _ => (only, String::new()),
        };
        let networks: Vec<String> = granted
            .iter()
            .chain([&network])
            .map(|network| format!("\"{network}\""))
            .collect();
        Some(format!("networks = [{}]{hint}", networks.join(", ")))
    }
}

impl Net {
    /// With the resolver of this machine.
    pub(super) fn system() -> Arc<Net> {
        Net::new(Arc::new(SystemResolver), CONNECTIONS)
    }

    /// With a resolver and a limit of connections of one's own.
    pub(super) fn new(resolver: Arc<dyn Resolver>, connections: usize) -> Arc<Net> {
        Arc::new(Net {
            resolver,
            connections: Arc::new(Semaphore::new(connections)),
            tls: OnceCell::new(),
        })
    }

    /// Trusts these authorities in place of the system's.
    #[cfg(test)]
    pub(super) fn trust(&self, roots: rustls::RootCertStore) {
        let connector = tls::trusting(roots).expect("a configuration");
        assert!(self.tls.set(connector).is_ok(), "set once");
    }

    /// TLS with the system's authorities. Cancel-safe.
    pub(super) async fn tls(&self) -> Result<TlsConnector, NetError> {
        let made = self.tls.get_or_try_init(async || {
            let made = tokio::task::spawn_blocking(tls::system).await;
            made.unwrap_or_else(|error| Err(error.to_string()))
        });
        made.await.cloned().map_err(NetError::Tls)
    }

    /// Waits for room for one more connection. Cancel-safe.
    pub(super) async fn room(&self, deadline: Instant) -> Result<Room, NetError> {
        let room = Arc::clone(&self.connections).acquire_owned();
        match tokio::time::timeout_at(deadline, room).await {
            // Connections end with their attempts: room at the very deadline is
            // room for nobody.
            Ok(Ok(room)) if Instant::now() < deadline => Ok(room),
            // The semaphore is never closed.
            Ok(_) | Err(_) => Err(NetError::NoRoom),
        }
    }

    /// Resolves a destination once and checks every address; none is returned
    /// if one of them must not be reached. An address is not resolved, only
    /// checked. Cancel-safe.
    pub(super) async fn resolve(
        &self,
        to: &Destination,
        networks: &[Network],
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, NetError> {
        let addresses = match to.literal().map_err(NetError::BadHost)? {
            Some(address) => vec![address],
            None => self.lookup(&to.host, deadline).await?,
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

    async fn lookup(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, NetError> {
        let failed = |reason: String| NetError::Lookup {
            host: host.to_owned(),
            reason,
        };
        let found = tokio::time::timeout_at(deadline, self.resolver.lookup(host)).await;
        let found = found.map_err(|_elapsed| NetError::Timeout)?;
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
