//! Opens the store that the configuration names, and converts store errors to messages.

use std::path::{Path, PathBuf};

use crate::config::{Config, DatabaseSource};
use pgtq_engine::EngineError;
use pgtq_store::{DatabaseConfig, Store, StoreError};

use super::context::Context;
use super::error::{Exit, Problem};

/// The file to which `pgtq dev` writes the URL of its private server, for other verbs in
/// the same directory. It exists while `pgtq dev` runs.
pub(crate) const PRIVATE_URL: &str = ".pgtq/url";

/// The configured database; `None` if none is configured.
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

/// The database at `url`, with the other settings of the configuration.
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

/// Connects to the configured database, or to the server of `pgtq dev` in this directory.
/// Checks the schema.
pub(crate) async fn open(context: &Context, config: &Config) -> Result<Store, Problem> {
    let store = connect(context, config).await?;
    store.check_schema().await?;
    Ok(store)
}

/// Like [`open`], without the check of the schema.
pub(crate) async fn connect(context: &Context, config: &Config) -> Result<Store, Problem> {
    Ok(Store::connect(address(context, config)?).await?)
}

/// The configured database, or the server of `pgtq dev` in this directory.
pub(crate) fn address(context: &Context, config: &Config) -> Result<DatabaseConfig, Problem> {
    if let Some(database) = configured(config)? {
        return Ok(database);
    }
    match private_url(&context.here) {
        Some(url) => at(config, &url),
        None => Err(unconfigured()),
    }
}

/// The error if no database is configured.
pub(crate) fn unconfigured() -> Problem {
    let problem = Problem::usage("no database configured")
        .help("set DATABASE_URL, or start a private database with `pgtq dev`");
    // Only `pgtq dev` creates this directory, and its database exists only while it runs.
    match Path::new(PRIVATE_URL).parent().is_some_and(Path::is_dir) {
        true => problem.help("`pgtq dev` is not running in this directory"),
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

impl From<pgtq_store::UrlError> for Problem {
    fn from(error: pgtq_store::UrlError) -> Self {
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
            .help(hint.unwrap_or("check that the server is running and that the URL is correct; `pgtq config show --origin` prints where the URL is set")),
            StoreError::Auth { place, message } => Problem::new(
                Exit::Unreachable,
                format!("the database at {place} rejected the login: {message}"),
            )
            .help("check the user, the password and the database name; `pgtq config show --origin` prints where they are set"),
            StoreError::SchemaMissing { schema } => Problem::new(
                Exit::Schema,
                format!("there is no pgtq schema `{schema}` in this database"),
            )
            .help("create it with `pgtq migrate`"),
            StoreError::SchemaOlder { schema, found, wanted } => Problem::new(
                Exit::Schema,
                format!("schema `{schema}` is at version {found}, but this pgtq requires version {wanted}"),
            )
            .help("update it with `pgtq migrate`; runners of the older version keep working"),
            StoreError::SchemaNewer { schema, found, serves, wanted } => Problem::new(
                Exit::Schema,
                format!("schema `{schema}` is at version {found}, which supports programs for schema version {serves} or later, and this pgtq is for version {wanted}"),
            )
            .help("update this pgtq"),
            StoreError::Locked { verb, message } => {
                Problem::failed(format!("cannot {verb}: {message}"))
                    .help("another session holds a lock on the queue's tables; `SELECT pid, usename, xact_start, query FROM pg_stat_activity ORDER BY xact_start` lists the oldest transactions first")
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
