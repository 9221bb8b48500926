//! Readiness: a task pushed now would run on this runner.

use std::time::Duration;

use super::monitored::Monitored;
use crate::state::shutdown::Phase;

/// Maximum wait for the database's answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long claims, storing outcomes or heartbeats may fail before the runner is not
/// ready: a lost connection is usually restored within a second or two.
const FAILING: Duration = Duration::from_secs(5);

/// The answer of `/readyz`.
#[derive(Debug, serde::Serialize)]
pub(super) struct Readiness {
    /// Whether every check passed.
    pub(super) ready: bool,
    /// The failed checks, one line each, for the operator who reads the probe's log.
    failing: Vec<String>,
}

pub(super) async fn check(monitored: &Monitored) -> Readiness {
    let mut failing = Vec::new();
    if monitored.shutdown.phase() != Phase::Running {
        failing.push("stopping: no new tasks are claimed".to_owned());
    }
    if !*monitored.loaded.borrow() {
        failing.push("loading: not every plugin file has been checked yet".to_owned());
    } else if monitored.registry.snapshot().handlers.is_empty() {
        failing.push(
            "no handler is loaded: the plugin directory is empty or every file was rejected"
                .to_owned(),
        );
    }
    failing.extend(monitored.stats.health.failing(FAILING));
    match tokio::time::timeout(PATIENCE, monitored.store.check_schema()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => failing.push(match error.hint() {
            Some(hint) => format!("database: {error} ({hint})"),
            None => format!("database: {error}"),
        }),
        Err(_) => failing.push(format!(
            "database: no answer within {} s",
            PATIENCE.as_secs()
        )),
    }
    Readiness {
        ready: failing.is_empty(),
        failing,
    }
}
