//! The sandbox's network access: one connection to one destination that the rules allow,
//! with its addresses checked.
//!
//! ```text
//! Destination ─ resolve (once) ─ check every address ─► [SocketAddr] ─ dial ─► TcpStream
//! ```
//!
//! Guarantees: only checked addresses are dialled, so a DNS answer that changes between
//! the check and the connection has no effect; if one of a name's addresses is denied,
//! all are; there are never more connections at a time than [`CONNECTIONS`](limits::CONNECTIONS), and never
//! more lookup threads than [`LOOKUPS`](limits::LOOKUPS); plugins share both fairly, so that none can
//! block another. Does not use HTTP or sockets of a guest.

pub(crate) mod dial;
pub(crate) mod error;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod permit;
pub(crate) mod resolve;
#[cfg(test)]
pub(crate) mod scripted;
mod tls;

#[cfg(test)]
mod tests;
