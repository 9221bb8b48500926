//! The database's location: URLs, `PG*` variables, TLS modes, the schema's name.
//!
//! tokio-postgres knows three of libpq's six `sslmode`s and rejects unknown parameters, and
//! every managed Postgres uses such URLs: so this module extracts the parameters that it handles
//! itself and passes the rest to tokio-postgres.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::connect::config::address::{IGNORED, split_pairs, split_url};

mod address;
pub(crate) mod error;
mod hosts;
pub(crate) mod mode;

pub use error::UrlError;
use error::wrong;
pub use mode::TlsMode;

/// The schema that pgtq lives in: `[a-z_][a-z0-9_]{0,47}`, not `pg_*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Schema(String);

/// Everything needed to reach the database. Display and Debug hide the password.
#[derive(Clone)]
pub struct DatabaseConfig {
    pub(crate) postgres: tokio_postgres::Config,
    /// libpq's `sslmode`.
    pub tls: TlsMode,
    /// A PEM file of CA certificates; the system's when absent.
    pub tls_root: Option<PathBuf>,
    /// The schema pgtq lives in.
    pub schema: Schema,
    /// For transaction poolers: no LISTEN, no named statements, no session state.
    pub poll_only: bool,
    /// Whether the URL states if there is a pooler (`pgbouncer=true` or `false`): then it is not
    /// detected.
    pub pooler_is_known: bool,
    /// Where to LISTEN instead, bypassing the pooler.
    pub listen: Option<Box<DatabaseConfig>>,
    /// Connect timeout, per host.
    pub connect_timeout: Duration,
    /// Whether `sslrootcert=system` was given, and whether a mode was.
    system_roots: bool,
    tls_was_said: bool,
    /// Index of the host that the next attempt to connect starts with, shared by all copies of
    /// this configuration. It is the host that answered last, or the one after the host being
    /// tried, because a caller that waits for a hanging host may give up.
    first: Arc<AtomicUsize>,
}

impl DatabaseConfig {
    /// Reads `postgres://...` or `key=value ...`, with libpq's parameters, and `pgbouncer=true`
    /// for [`DatabaseConfig::poll_only`] (`false`: skip the detection; sessions are kept).
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !is_url && !url.contains('=') {
            return Err(wrong(
                "not a database URL; write postgres://user@host/database",
            ));
        }
        let (kept, ours) = if is_url {
            split_url(url)
        } else {
            split_pairs(url)
        };
        let place = kept.split_once('@').map_or("", |(_, rest)| rest);
        let place = place.split('?').next().unwrap_or_default();
        if is_url && place.contains('@') {
            // Everything after the first would be parsed as host or database, and displayed.
            return Err(wrong(
                "there are two `@`; write %40 for one in a user, password or name",
            ));
        }
        let postgres = tokio_postgres::Config::from_str(&kept).map_err(|error| {
            // A `?` in a password turns the rest into options, which would be displayed.
            let torn = is_url
                && kept
                    .split_once('?')
                    .is_some_and(|(_, query)| query.contains('@'));
            let message = root_message(&error);
            // So does a blank in a password, and its second word would be displayed.
            let broken = !is_url && kept.contains("password") && message.contains("unknown option");
            wrong(match (torn, broken) {
                (true, _) => {
                    "an `@` follows the `?`; write %3F and %40 in a user or password".to_owned()
                }
                (_, true) => {
                    "unknown option; a password with blanks needs quotes: password='a b'".to_owned()
                }
                (false, false) => message,
            })
        })?;
        let mut config = DatabaseConfig::with(postgres);
        for (key, value) in ours {
            config.set(&key, &value)?;
        }
        config.finish()
    }

    /// Reads `PGHOST`, `PGPORT`, `PGUSER`, ... from `get`. `None` when neither host nor database
    /// is given.
    pub fn from_env_like(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, UrlError> {
        let get = |key: &str| get(key).filter(|value| !value.is_empty());
        if ["PGHOST", "PGHOSTADDR", "PGDATABASE"]
            .iter()
            .all(|key| get(key).is_none())
        {
            return Ok(None);
        }
        let mut config = DatabaseConfig::with(tokio_postgres::Config::new());
        if let Some(hosts) = get("PGHOST") {
            hosts.split(',').for_each(|host| {
                config.postgres.host(host);
            });
        }
        if let Some(address) = get("PGHOSTADDR") {
            let address = address
                .parse()
                .map_err(|_| wrong("PGHOSTADDR is not an IP address"))?;
            config.postgres.hostaddr(address);
        }
        if let Some(ports) = get("PGPORT") {
            for port in ports.split(',') {
                let port = port.parse().map_err(|_| wrong("PGPORT is not a port"))?;
                config.postgres.port(port);
            }
        }
        if let Some(user) = get("PGUSER") {
            config.postgres.user(user);
        }
        if let Some(password) = get("PGPASSWORD") {
            config.postgres.password(password);
        }
        if let Some(name) = get("PGDATABASE") {
            config.postgres.dbname(name);
        }
        if let Some(name) = get("PGAPPNAME") {
            config.postgres.application_name(name);
        }
        if let Some(options) = get("PGOPTIONS") {
            config.postgres.options(options);
        }
        for (variable, key) in [
            ("PGSSLMODE", "sslmode"),
            ("PGSSLROOTCERT", "sslrootcert"),
            ("PGCONNECT_TIMEOUT", "connect_timeout"),
            ("PGTARGETSESSIONATTRS", "target_session_attrs"),
        ] {
            if let Some(value) = get(variable) {
                config.set(key, &value)?;
            }
        }
        config.finish().map(Some)
    }

    /// Sets `application_name`, shown in `pg_stat_activity`, unless the URL has one.
    pub fn application_name(&mut self, name: &str) {
        if self.postgres.get_application_name().is_none() {
            self.postgres.application_name(name);
        }
    }

    /// Whether LISTEN works: without a pooler, or past it.
    pub fn can_listen(&self) -> bool {
        !self.poll_only || self.listen.is_some()
    }

    /// Host, port and database for display, without a password.
    pub fn place(&self) -> String {
        let ports = self.postgres.get_ports();
        let port = |i: usize| ports.get(i).or(ports.first()).copied().unwrap_or(5432);
        let hosts: Vec<String> = self
            .postgres
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(i, host)| match host {
                Host::Tcp(name) => format!("{name}:{}", port(i)),
                #[cfg(unix)]
                Host::Unix(path) => format!("{}/.s.PGSQL.{}", path.display(), port(i)),
            })
            .collect();
        let user = self.postgres.get_user().unwrap_or("");
        let name = self.postgres.get_dbname().unwrap_or(user);
        format!("{}/{name}", hosts.join(","))
    }

    fn with(postgres: tokio_postgres::Config) -> Self {
        DatabaseConfig {
            postgres,
            tls: TlsMode::Prefer,
            tls_root: None,
            schema: Schema::default(),
            poll_only: false,
            pooler_is_known: false,
            listen: None,
            connect_timeout: Duration::from_secs(10),
            system_roots: false,
            tls_was_said: false,
            first: Arc::default(),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), UrlError> {
        match key {
            "sslmode" => {
                self.tls = value.parse()?;
                self.tls_was_said = true;
            }
            "sslrootcert" => {
                self.system_roots = value == "system";
                let is_file = !self.system_roots && !value.is_empty();
                self.tls_root = is_file.then(|| PathBuf::from(value));
            }
            "connect_timeout" => {
                let seconds: u64 = value
                    .parse()
                    .map_err(|_| wrong("connect_timeout is not a number of seconds"))?;
                // Zero means no limit in libpq; a runner must not hang indefinitely.
                self.connect_timeout = Duration::from_secs(if seconds == 0 { 60 } else { seconds });
            }
            // As in libpq: several, separated by commas. tokio-postgres accepts that only in the
            // other form.
            "host" => value.split(',').for_each(|host| {
                self.postgres.host(host);
            }),
            "port" => {
                for port in value.split(',') {
                    let port = port.parse().map_err(|_| {
                        wrong(format!("the port {port:?} is not a number up to 65535"))
                    })?;
                    self.postgres.port(port);
                }
            }
            "target_session_attrs" => {
                let wanted = match value {
                    "any" => TargetSessionAttrs::Any,
                    "read-write" | "primary" => TargetSessionAttrs::ReadWrite,
                    _ => {
                        return Err(wrong(format!(
                            "target_session_attrs {value:?} is not any or read-write: the queue writes"
                        )));
                    }
                };
                self.postgres.target_session_attrs(wanted);
            }
            "pgbouncer" => {
                self.poll_only = value == "true";
                self.pooler_is_known = true;
            }
            "schema" => self.schema = value.parse()?,
            "sslcert" | "sslkey" | "sslpassword" | "passfile" | "service" => {
                return Err(wrong(format!("the parameter {key} is not supported")));
            }
            _ => debug_assert!(IGNORED.contains(&key), "{key} was taken out and not used"),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Self, UrlError> {
        if self.postgres.get_hosts().is_empty() && self.postgres.get_hostaddrs().is_empty() {
            #[cfg(unix)]
            self.postgres.host_path("/var/run/postgresql");
            #[cfg(not(unix))]
            self.postgres.host("localhost");
        }
        let (n_hosts, n_ports) = (self.n_places(), self.postgres.get_ports().len());
        if n_ports > 1 && n_ports != n_hosts {
            return Err(wrong(format!("{n_ports} ports for {n_hosts} hosts")));
        }
        if self.postgres.get_user().is_none() {
            let user = std::env::var("USER").unwrap_or_else(|_| "postgres".to_owned());
            self.postgres.user(user);
        }
        if n_hosts > 1 {
            self.postgres
                .target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if self.system_roots {
            self.tls = TlsMode::for_system_roots(self.tls_was_said.then_some(self.tls))?;
        }
        self.postgres.ssl_mode(match self.tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        });
        // A vanished peer is detected before the runner's lease expires.
        self.postgres
            .connect_timeout(self.connect_timeout)
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(2))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(10));
        Ok(self)
    }
}

impl Schema {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Replaces `{{schema}}` with the quoted schema name, `{{schema_name}}` with the name,
    /// `{{channel}}` with the name of the notification channel, and the lists of columns of
    /// [`crate::columns`].
    pub(crate) fn render(&self, sql: &str) -> String {
        crate::sql::columns::render(sql)
            .replace("{{schema}}", &format!("\"{}\"", self.0))
            .replace("{{schema_name}}", &self.0)
            .replace("{{channel}}", &self.channel())
    }

    pub(crate) fn channel(&self) -> String {
        format!("{}_wake", self.0)
    }
}

impl Default for Schema {
    fn default() -> Self {
        Schema("pgtq".to_owned())
    }
}

impl FromStr for Schema {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let starts_well = text.starts_with(|c: char| !c.is_ascii_digit());
        if !starts_well
            || text.len() > 48
            || !text.bytes().all(legal)
            || text.starts_with("pg_")
            || text == "information_schema"
        {
            return Err(wrong(format!(
                "{text:?} is not a schema name: 1 to 48 of a-z 0-9 _, not starting with a digit or `pg_`"
            )));
        }
        Ok(Schema(text.to_owned()))
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

/// tokio-postgres reports "invalid configuration" and puts the reason in the source.
fn root_message(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests;
