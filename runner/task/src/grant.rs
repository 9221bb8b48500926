//! Capabilities in two layers: what a plugin requests, and what the operator grants. A handler
//! may do only what both allow.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pgtq_contract::{HostRule, HttpRule, LimitRequest, PushRule, TcpRule};

use crate::network::Network;

/// What the operator grants to one plugin: `[grants.NAME]` in `pgtq.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// Requests it may make.
    pub http: Vec<HttpRule>,
    /// Connections it may open.
    pub tcp: Vec<TcpRule>,
    /// Ranges outside the public internet that it may reach.
    pub networks: Vec<Network>,
    /// Its use of SQL.
    pub sql: Option<SqlGrant>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, SecretGrant>,
    /// Directories by guest path.
    pub files: BTreeMap<String, FileGrant>,
    /// Handlers it may push to, besides its own.
    pub push: Vec<PushRule>,
    /// Caps on fuel, time and memory for its handlers, which replace the operator's caps for all
    /// plugins.
    pub limits: LimitRequest,
}

/// SQL in the task's own transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlGrant {
    /// The Postgres role that logs in. Must not have privileges on the queue's tables.
    pub role: String,
    /// Its password, if it needs one: the value of the secret that the operator named, read
    /// together with the grants.
    pub password: Option<Secret>,
    /// Maximum time for one statement.
    pub statement_timeout: Duration,
    /// Maximum connections per runner.
    pub connections: u32,
}

/// One secret for one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretGrant {
    /// Hosts whose requests may carry it in a header.
    pub hosts: Vec<HostRule>,
    /// Whether the guest may read the value.
    pub read: bool,
}

/// One directory for one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileGrant {
    /// The directory on this machine.
    pub dir: PathBuf,
    /// Whether it may write there.
    pub write: bool,
}

/// A secret's value. Never printed: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// All grants and secrets at one time. Immutable; replaced as a whole when the operator edits
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrantBook {
    /// By plugin: the file's name without `.wasm`, which the operator chooses and the plugin
    /// cannot change.
    pub plugins: BTreeMap<String, Arc<Grant>>,
    /// Values by name.
    pub secrets: BTreeMap<String, Secret>,
}

impl GrantBook {
    /// The grant of a plugin; empty by default.
    pub fn of(&self, plugin: &str) -> Arc<Grant> {
        self.plugins.get(plugin).cloned().unwrap_or_default()
    }
}
