//! Where the database is: URLs, `PG*` variables, TLS modes, the schema's name.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The schema that pgtq lives in: `[a-z_][a-z0-9_]{0,47}`, not `pg_*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Schema(String);

/// How the connection is protected; libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never TLS.
    Disable,
    /// TLS where the server has it, unverified (also `allow`).
    Prefer,
    /// TLS, unverified.
    Require,
    /// TLS with a certificate of a known authority.
    VerifyCa,
    /// TLS with a certificate of a known authority for this host.
    VerifyFull,
}

/// Everything needed to reach the database. Display and Debug hide the password.
#[derive(Clone)]
pub struct DatabaseConfig {
    pub(super) postgres: tokio_postgres::Config,
    /// libpq's `sslmode`.
    pub tls: TlsMode,
    /// A PEM file of authorities; the system's when absent.
    pub tls_root: Option<PathBuf>,
    /// The schema pgtq lives in.
    pub schema: Schema,
    /// For transaction poolers: no LISTEN, no named statements, no session state.
    pub poll_only: bool,
    /// How long one attempt to connect may take, per host.
    pub connect_timeout: Duration,
}

/// Why a text does not say where a database is. Never holds the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the database address: {message}")]
pub struct ConfigError {
    /// What is wrong with it.
    pub message: String,
}

impl DatabaseConfig {
    /// Reads `postgres://...` or `key=value ...`, with libpq's parameters.
    pub fn parse(_url: &str) -> Result<Self, ConfigError> {
        todo!()
    }

    /// Reads `PGHOST`, `PGPORT`, `PGUSER`, ... from `get`. `None` when neither
    /// host, database nor service is given: then nobody said where.
    pub fn from_env_like(
        _get: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        todo!()
    }

    /// Sets the name that the server's activity view shows.
    pub fn application_name(&mut self, _name: &str) {
        todo!()
    }

    /// Host, port and database for people, without a password.
    pub fn place(&self) -> String {
        todo!()
    }
}

impl Schema {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Schema {
    fn default() -> Self {
        Schema("pgtq".to_owned())
    }
}

impl FromStr for Schema {
    type Err = ConfigError;

    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("place", &self.place())
            .field("tls", &self.tls)
            .field("schema", &self.schema)
            .field("poll_only", &self.poll_only)
            .finish_non_exhaustive()
    }
}
