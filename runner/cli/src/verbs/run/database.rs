//! The database of a runner: at once, or as soon as it can be used.

use std::time::{Duration, Instant};

use crate::config::{Config, DatabaseSource, MigrateWhen};
use crate::context::Context;
use crate::database;
use crate::error::Problem;
use crate::text;
use pgtq_engine::LoopBackoff;
use pgtq_store::{DatabaseConfig, Store, StoreError};

/// Waits between two tries: doubling, with jitter.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A reason that stays the same is logged this often.
const REMIND: Duration = Duration::from_secs(60);

/// Whether, and how long, a runner waits for its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// The first error is the end.
    None,
    /// Until the database can be used, or for this long.
    Wait(Option<Duration>),
}

/// Connects and checks the schema. With patience, waits while the database cannot be
/// reached or rejects the login, and while the schema is missing or older than this
/// program. Cancel-safe.
pub(super) async fn connect(
    context: &Context,
    config: &Config,
    patience: Patience,
) -> Result<Store, Problem> {
    // A runner must not guess: only a database that somebody named.
    if config.database == DatabaseSource::None {
        return Err(database::unconfigured());
    }
    let address = database::address(context, config)?;
    let migrate = config.run.migrate == MigrateWhen::Auto;
    let limit = match patience {
        Patience::None => return Ok(usable(&address, migrate).await?),
        Patience::Wait(limit) => limit,
    };
    let started = Instant::now();
    let left = || limit.map(|limit| limit.saturating_sub(started.elapsed()));
    let mut backoff = LoopBackoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut reminder = Reminder::default();
    loop {
        let error = match Box::pin(within(left(), usable(&address, migrate))).await {
            Some(Ok(store)) => {
                if reminder.last.is_some() {
                    tracing::info!("the database can be used now");
                }
                return Ok(store);
            }
            Some(Err(error)) if !may_pass(&error) => return Err(error.into()),
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
            return Err(problem.help(format!("--wait-for-database gave up after {limit}")));
        }
        tokio::time::sleep(pause).await;
    }
}

/// `None` when the time was over first.
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
                    tracing::info!(version, name, "migrated");
                }
                if !applied.functions.is_empty() {
                    let files = applied.functions.join(", ");
                    tracing::info!(files, "functions replaced");
                }
            }
            // Another build of this version, and a role that may not replace its functions.
            Err(error @ StoreError::Denied { .. }) if store.check_schema().await.is_ok() => {
                tracing::warn!(%error, "the schema stays as it is, and serves this runner");
            }
            Err(error) => return Err(error),
        }
    }
    store.check_schema().await?;
    Ok(store)
}

/// Whether something beside this process can mend it.
fn may_pass(error: &StoreError) -> bool {
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
        message: "no answer".to_owned(),
        hint: None,
    }
    .into()
}

/// Logs a reason when it is new, and once a minute.
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
