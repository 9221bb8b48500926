//! From a name to addresses.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};

/// Resolves names to addresses; a trait so that tests can define the answers.
pub(crate) trait Resolver: Debug + Send + Sync {
    /// All addresses of a name. Runs on a thread that may block, possibly for long: a
    /// lookup cannot be cancelled.
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of this machine: `/etc/hosts`, DNS, and its other sources.
#[derive(Debug)]
pub(crate) struct SystemResolver;

impl Resolver for SystemResolver {
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = (host, 0).to_socket_addrs()?;
        let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        addresses.dedup();
        Ok(addresses)
    }
}
