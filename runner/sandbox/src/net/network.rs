//! The network access of a runner, shared by all its attempts.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::fair::FairSemaphore;
use crate::net::error::NetError;
use crate::net::limits::{CONNECTIONS, LOOKUPS};
use crate::net::permit::{ConnectionPermit, RequestPermit};
use crate::net::resolve::{Resolver, SystemResolver};
use crate::net::tls;
use pgtq_task::{AddressKind, Destination, HttpProxy, Network};

/// Maximum number of addresses of one name; a longer answer is rejected as a whole.
const ADDRESSES: usize = 64;

/// Idle open connections, each of which holds a permit.
pub(crate) trait IdleConnections: Send + Sync {
    /// Closes one, of this plugin if it has one, to free its permit. Returns whether
    /// there was one.
    fn give_up_one(&self, plugin: &str) -> bool;
}

/// The network state shared by all attempts of a runner.
pub(crate) struct Net {
    resolver: Arc<dyn Resolver>,
    connections: Arc<FairSemaphore>,
    lookups: Arc<FairSemaphore>,
    /// Connections that are open and not needed, if anybody keeps such.
    idle: OnceLock<Arc<dyn IdleConnections>>,
    /// Made with the first connection that needs it: reads files.
    tls: OnceCell<TlsConnector>,
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
            idle: OnceLock::new(),
            tls: OnceCell::new(),
        })
    }

    /// Closes connections of this pool when others are needed. For the first pool only.
    pub(crate) fn may_close(&self, idle: Arc<dyn IdleConnections>) {
        let _ = self.idle.set(idle);
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
        let give_up_one = || self.idle.get().is_some_and(|idle| idle.give_up_one(plugin));
        while !self.connections.may_take(plugin) && give_up_one() {}
        let permit = self.connections.acquire(plugin, deadline).await;
        permit.ok_or(NetError::NoConnection)
    }

    /// Resolves a destination once and checks every address; returns none if one of them
    /// is denied. An address is not resolved, only checked. A lookup thread keeps
    /// the permit `request` until it is done. Cancel-safe.
    pub(crate) async fn resolve(
        &self,
        plugin: &Arc<str>,
        to: &Destination,
        networks: &[Network],
        request: Option<RequestPermit>,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, NetError> {
        let addresses = match to.literal().map_err(NetError::BadHost)? {
            Some(address) => vec![address],
            None => self.lookup(plugin, &to.host, request, deadline).await?,
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
        request: Option<RequestPermit>,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, NetError> {
        let to = Destination {
            host: proxy.host.clone(),
            port: proxy.port,
            named: true,
        };
        let addresses = match to.literal().map_err(NetError::BadHost)? {
            Some(address) => vec![address],
            None => self.lookup(plugin, &to.host, request, deadline).await?,
        };
        let with_port = |address| SocketAddr::new(address, to.port);
        Ok(addresses.into_iter().map(with_port).collect())
    }

    async fn lookup(
        &self,
        plugin: &Arc<str>,
        host: &str,
        request: Option<RequestPermit>,
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
            let _kept = (permit, request);
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
