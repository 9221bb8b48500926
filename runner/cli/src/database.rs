//! From the configuration to an open store, and its errors as people see them.

use std::path::{Path, PathBuf};

use crate::config::{Config, DatabaseSource};
use pgtq_engine::EngineError;
use pgtq_store::{DatabaseConfig, Store, StoreError};

use super::context::Context;
use super::error::{Exit, Problem};

/// Where `pgtq dev` leaves the address of its private server, so that other
/// verbs in the same directory find it while it runs.
pub(crate) const PRIVATE_URL: &str = ".pgtq/url";

/// The database's address as configured; `None` when nobody named one.
pub(crate) fn configured(config: &Config) -> Result<Option<DatabaseConfig>, Problem> {
    let found = match &config.database {
        DatabaseSource::None => None,
        DatabaseSource::Url(url) => Some(DatabaseConfig::parse(url)?),
        DatabaseSource::PgVariables => {
            DatabaseConfig::from_env_like(|name| std::env::var(name).ok())?
        }
    };
    found.map(|found| finish(config, found)).transpose()
}

/// The address `url` with the rest of the configuration.
pub(crate) fn at(config: &Config, url: &str) -> Result<DatabaseConfig, Problem> {
    finish(config, DatabaseConfig::parse(url)?)
}

fn finish(config: &Config, mut database: DatabaseConfig) -> Result<DatabaseConfig, Problem> {
    database.schema = config.schema.parse()?;
    database.poll_only |= config.poll_only;
    database.connect_timeout = config.connect_timeout;
    if let DatabaseSource::Url(url) = &config.listen {
        let mut direct = DatabaseConfig::parse(url)?;
        direct.connect_timeout = config.connect_timeout;
        direct.application_name("pgtq");
        database.listen = Some(Box::new(direct));
    }
    database.application_name("pgtq");
    Ok(database)
}

/// Connects to the configured database, or to the server of a `pgtq dev` that
/// runs in this directory. Checks the schema.
pub(crate) async fn open(context: &Context, config: &Config) -> Result<Store, Problem> {
    let store = connect(context, config).await?;
    store.check_schema().await?;
    Ok(store)
}

/// As [`open`] without looking at the schema.
pub(crate) async fn connect(context: &Context, config: &Config) -> Result<Store, Problem> {
    Ok(Store::connect(address(context, config)?).await?)
}

/// The address of the configured database, or of the server of a `pgtq dev` that
/// runs in this directory.
pub(crate) fn address(context: &Context, config: &Config) -> Result<DatabaseConfig, Problem> {
    if let Some(database) = configured(config)? {
        return Ok(database);
    }
    match private_url(&context.here) {
        Some(url) => at(config, &url),
        None => Err(unconfigured()),
    }
}

/// Nobody said where the database is.
pub(crate) fn unconfigured() -> Problem {
    let problem = Problem::usage("no database configured")
        .help("set DATABASE_URL, or try `pgtq dev` for a private one");
    // Only `dev` makes this directory, and only while it runs its database is there.
    match Path::new(PRIVATE_URL).parent().is_some_and(Path::is_dir) {
        true => problem.help("`pgtq dev` has been used in this directory and is not running now"),
        false => problem,
    }
}

fn private_url(start: &Path) -> Option<String> {
    let found: PathBuf = start
        .ancestors()
        .map(|dir| dir.join(PRIVATE_URL))
        .find(|path| path.is_file())?;
    let url = std::fs::read_to_string(found).ok()?;
    Some(url.trim().to_owned()).filter(|url| !url.is_empty())
}

impl From<pgtq_store::ConfigError> for Problem {
    fn from(error: pgtq_store::ConfigError) -> Self {
        Problem::usage(error.message)
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => error.into(),
            other => Problem::failed(other.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable {
                place,
                message,
                hint,
            } => Problem::new(
                Exit::Unreachable,
                format!("cannot reach the database at {place}: {message}"),
            )
            .help(hint.unwrap_or("is it running, and is the address right? `pgtq config show --origin` says where it comes from")),
            StoreError::Auth { place, message } => Problem::new(
                Exit::Unreachable,
                format!("the database at {place} does not let us in: {message}"),
            )
            .help("check user, password and database; `pgtq config show --origin` says where they come from"),
            StoreError::SchemaMissing { schema } => Problem::new(
                Exit::Schema,
                format!("there is no pgtq schema `{schema}` in this database"),
            )
            .help("create it with `pgtq migrate`"),
            StoreError::SchemaOlder { schema, found, wanted } => Problem::new(
                Exit::Schema,
                format!("schema `{schema}` is at version {found}, this pgtq needs {wanted}"),
            )
            .help("bring it up with `pgtq migrate`; runners of the older version keep working"),
            StoreError::SchemaNewer { schema, found, serves, wanted } => Problem::new(
                Exit::Schema,
                format!("schema `{schema}` is at version {found} and serves programs written for {serves} or later, this pgtq is written for {wanted}"),
            )
            .help("update this pgtq"),
            StoreError::Locked { verb, message } => {
                Problem::failed(format!("cannot {verb}: {message}"))
                    .help("somebody holds a lock on the queue's tables; `SELECT pid, usename, xact_start, query FROM pg_stat_activity ORDER BY xact_start` shows the longest transactions")
            }
            StoreError::Transient {
                verb,
                message,
                hint,
            } => Problem::new(Exit::Unreachable, format!("cannot {verb}: {message}"))
                .maybe_help(hint.map(str::to_owned))
                .help("try again in a moment"),
            StoreError::Refused { message, hint } => Problem::usage(message).maybe_help(hint),
            StoreError::Denied { message, hint, .. } => Problem::usage(message).help(hint),
            StoreError::Fault { verb, message } => Problem::failed(format!("cannot {verb}: {message}")),
        }
    }
}
