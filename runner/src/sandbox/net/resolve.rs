//! From a name to addresses.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// What a lookup returns.
pub(in crate::sandbox) type Lookup<'a> =
    Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Turns names into addresses; a trait so that tests can write the answers.
pub(in crate::sandbox) trait Resolver: Debug + Send + Sync {
    /// All addresses of a name. May be dropped at any time.
    fn lookup<'a>(&'a self, host: &'a str) -> Lookup<'a>;
}

/// The resolver of this machine: `/etc/hosts`, DNS, and whatever else it asks.
#[derive(Debug)]
pub(in crate::sandbox) struct SystemResolver;

impl Resolver for SystemResolver {
    fn lookup<'a>(&'a self, host: &'a str) -> Lookup<'a> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            addresses.dedup();
            Ok(addresses)
        })
    }
}
