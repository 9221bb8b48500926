//! Why there is no connection, and what to grant for it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::net::limits::{CONNECTIONS, LOOKUPS};
use pgtq_task::{AddressKind, Network};

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
