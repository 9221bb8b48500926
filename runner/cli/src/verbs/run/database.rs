//! Connects a runner to its database, immediately or when it becomes available.

use std::time::{Duration, Instant};

use crate::config::{Config, DatabaseSource, MigrateWhen};
use crate::context::Context;
use crate::database;
use crate::error::Problem;
use crate::text;
use pgtq_engine::LoopBackoff;
use pgtq_store::{DatabaseConfig, Store, StoreError};

/// Pauses between two tries: exponential, with jitter.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Interval at which an unchanged reason is logged again.
const REMIND: Duration = Duration::from_secs(60);

/// Whether and how long a runner waits for its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// Fail on the first error.
    Nothing,
    /// Wait until the database is available, with an optional time limit.
    Database(Option<Duration>),
}

/// Connects and checks the schema. [`WaitFor::Database`] waits while the database is
/// unreachable or rejects the login, and while the schema is missing or older than this
/// program requires. Cancel-safe.
pub(super) async fn connect(
    context: &Context,
    config: &Config,
    wait: WaitFor,
) -> Result<Store, Problem> {
    // A runner uses only a configured database, not that of `pgtq dev`.
    if config.database == DatabaseSource::None {
        return Err(database::unconfigured());
    }
    let address = database::address(context, config)?;
    let migrate = config.run.migrate == MigrateWhen::Auto;
    let limit = match wait {
        WaitFor::Nothing => return Ok(usable(&address, migrate).await?),
        WaitFor::Database(limit) => limit,
    };
    let started = Instant::now();
    let left = || limit.map(|limit| limit.saturating_sub(started.elapsed()));
    let mut backoff = LoopBackoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut reminder = Reminder::default();
    loop {
        let error = match Box::pin(within(left(), usable(&address, migrate))).await {
            Some(Ok(store)) => {
                if reminder.last.is_some() {
                    tracing::info!("the database is available");
                }
                return Ok(store);
            }
            Some(Err(error)) if !is_transient(&error) => return Err(error.into()),
            Some(Err(error)) => Some(error),
            None => None,
        };
        let problem = error.map_or_else(
            || no_answer(&address),
            |error| {
                reminder.log(&error.to_string());
                Problem::from(error)
            },
        );
        let pause = backoff.failed();
        let pause = left().map_or(pause, |left| left.min(pause));
        if pause.is_zero() {
            let limit = text::fine(limit.unwrap_or_default());
            return Err(problem.help(format!("--wait-for-database timed out after {limit}")));
        }
        tokio::time::sleep(pause).await;
    }
}

/// Returns `None` on a timeout.
async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

async fn usable(address: &DatabaseConfig, migrate: bool) -> Result<Store, StoreError> {
    let store = Store::connect(address.clone()).await?;
    if migrate {
        match store.migrate().await {
            Ok(applied) => {
                for (version, name) in applied.versions {
                    tracing::info!(version, name, "migration applied");
                }
                if !applied.functions.is_empty() {
                    let files = applied.functions.join(", ");
                    tracing::info!(files, "functions replaced");
                }
            }
            // The schema is from another build of this version, and the role cannot replace
            // its functions.
            Err(error @ StoreError::Denied { .. }) if store.check_schema().await.is_ok() => {
                tracing::warn!(%error, "cannot update the schema; its current version supports this runner");
            }
            Err(error) => return Err(error),
        }
    }
    store.check_schema().await?;
    Ok(store)
}

/// Whether the error can disappear without a restart of this process.
fn is_transient(error: &StoreError) -> bool {
    match error {
        StoreError::Unreachable { .. }
        | StoreError::Auth { .. }
        | StoreError::Transient { .. }
        | StoreError::Locked { .. }
        | StoreError::Denied { .. }
        | StoreError::SchemaMissing { .. }
        | StoreError::SchemaOlder { .. } => true,
        StoreError::SchemaNewer { .. } | StoreError::Refused { .. } | StoreError::Fault { .. } => {
            false
        }
    }
}

fn no_answer(address: &DatabaseConfig) -> Problem {
    StoreError::Unreachable {
        place: address.place(),
        message: "no response".to_owned(),
        hint: None,
    }
    .into()
}

/// Logs a reason when it changes, and once per minute.
#[derive(Default)]
struct Reminder {
    last: Option<(String, Instant)>,
}

impl Reminder {
    fn log(&mut self, reason: &str) {
        let is_known = self
            .last
            .as_ref()
            .is_some_and(|(last, at)| last == reason && at.elapsed() < REMIND);
        if !is_known {
            tracing::warn!(error = reason, "waiting for the database");
            self.last = Some((reason.to_owned(), Instant::now()));
        }
    }
}
