//! Connections: the URL, TLS, one session for each purpose, and the settings of a session.

pub(crate) mod cancel_request;
pub(crate) mod claims;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod dial;
pub(crate) mod error;
pub(crate) mod lease;
pub(crate) mod pooler;
pub(crate) mod role;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod shortage;
pub(crate) mod stride;
pub(crate) mod ticket;
pub(crate) mod tls;
pub(crate) mod unreadable;
