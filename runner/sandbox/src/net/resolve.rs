//! From a name to addresses.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};

/// Turns names into addresses; a trait so that tests can write the answers.
pub(crate) trait Resolver: Debug + Send + Sync {
    /// All addresses of a name. Runs on a thread that may block, and may hold it
    /// for long: there is no way to stop a thread that asks.
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of this machine: `/etc/hosts`, DNS, and whatever else it asks.
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
