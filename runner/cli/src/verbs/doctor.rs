//! `pgtq doctor`: checks this machine and the database, and suggests fixes.

mod grants;
mod server;

use std::time::Duration;

use clap::Args;

use crate::config::Config;
use crate::context::Context;
use crate::database;
use crate::error::Problem;
use crate::output::{Cell, Rows};
use pgtq_setup::doctor::{self, Check, Status};
use pgtq_store::{MigrationStatus, Store, StoreError};

/// Runners and workers rescue tasks with expired leases every second.
const OVERDUE: Duration = Duration::from_secs(30);

/// Arguments of `pgtq doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Install or create what is missing, without prompting
    #[arg(long)]
    pub(crate) fix: bool,
}

pub(crate) async fn run(args: DoctorArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let plugins = &config.run.plugins;
    let mut checks = tokio::task::block_in_place(|| match args.fix {
        true => doctor::fix(plugins, &|line| context.say(line)),
        false => doctor::machine(plugins),
    });
    checks.extend(tokio::task::block_in_place(|| grants::checks(&config)));
    checks.extend(database_checks(context, &config).await);
    let mut rows = Rows::new("pgtq.checks/v1", &["check", "status", "found", "fix"]);
    for check in &checks {
        let (word, shown) = match check.status {
            Status::Ok => ("ok", "ok"),
            Status::Warn => ("warn", "WARN"),
            Status::Bad => ("bad", "BAD"),
        };
        let fix = check.fix.as_deref().unwrap_or("");
        let cells = vec![
            check.name.into(),
            Cell::new(shown, word),
            check.detail.as_str().into(),
            fix.into(),
        ];
        let json = serde_json::json!({
            "check": check.name, "status": word, "found": check.detail, "fix": check.fix,
        });
        rows.push(check.name, cells, json);
    }
    context.out.rows(&rows)?;
    let bad = checks
        .iter()
        .filter(|check| check.status == Status::Bad)
        .count();
    match bad {
        0 => Ok(()),
        n => Err(Problem::failed(format!(
            "{n} of {} checks failed",
            checks.len()
        ))),
    }
}

async fn database_checks(context: &Context, config: &Config) -> Vec<Check> {
    let check = |name, status, detail: String, fix: Option<&str>| Check {
        name,
        status,
        detail,
        fix: fix.map(str::to_owned),
    };
    let store = match database::connect(context, config).await {
        Ok(store) => store,
        Err(problem) if problem == database::unconfigured() => {
            let fix = Some("set DATABASE_URL, or start a private database with `pgtq dev`");
            return vec![check("database", Status::Warn, problem.message, fix)];
        }
        Err(problem) => {
            let fix = problem.help.first().cloned();
            return vec![check(
                "database",
                Status::Bad,
                problem.message,
                fix.as_deref(),
            )];
        }
    };
    let mut checks = vec![check("database", Status::Ok, store.config().place(), None)];
    match store.server().await {
        Ok(state) => checks.extend(server::checks(store.config(), &state, now())),
        Err(error) => {
            let problem = Problem::from(error);
            let fix = problem.help.first().cloned();
            let found = problem.message;
            checks.push(check("server", Status::Warn, found, fix.as_deref()));
        }
    }
    if let Err(error) = store.check_schema().await {
        let problem = Problem::from(error);
        let fix = problem.help.first().cloned();
        checks.push(check(
            "schema",
            Status::Bad,
            problem.message,
            fix.as_deref(),
        ));
        return checks;
    }
    checks.push(check(
        "schema",
        Status::Ok,
        format!("`{}` is up to date", config.schema),
        None,
    ));
    for (name, found) in [
        ("migrations", migrations(&store).await),
        ("runners", runners(&store).await),
        ("workers", overdue(&store).await),
        ("queues", paused(&store).await),
    ] {
        checks.extend(found.unwrap_or_else(|error| Some(failed(name, error))));
    }
    checks
}

/// A failed check: a warning if the role lacks the privilege for it.
fn failed(name: &'static str, error: StoreError) -> Check {
    let denied = matches!(error, StoreError::Denied { .. });
    let problem = Problem::from(error);
    Check {
        name,
        status: if denied { Status::Warn } else { Status::Bad },
        detail: match denied {
            true => format!("not checked: {}", problem.message),
            false => problem.message,
        },
        fix: match denied {
            true => Some("grant viewer to the role: `pgtq roles viewer ROLE`".to_owned()),
            false => problem.help.first().cloned(),
        },
    }
}

/// Seconds since 1970 by this machine's clock.
fn now() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// Whether the applied migrations match this program.
async fn migrations(store: &Store) -> Result<Option<Check>, StoreError> {
    let all = store.migration_status().await?;
    let titles = |which: fn(&MigrationStatus) -> bool| {
        let found = all.iter().filter(|one| which(one));
        found.map(MigrationStatus::title).collect::<Vec<_>>()
    };
    let drifted = titles(|one| one.drifted);
    let pending = titles(|one| one.applied_at.is_none());
    let check = |status, detail, fix: Option<&str>| Check {
        name: "migrations",
        status,
        detail,
        fix: fix.map(str::to_owned),
    };
    Ok(Some(if !drifted.is_empty() {
        check(
            Status::Warn,
            format!("applied with different SQL: {}", drifted.join(", ")),
            Some(
                "compare the schema with the output of `pgtq migrate --sql` for an empty database",
            ),
        )
    } else if !pending.is_empty() {
        check(
            Status::Warn,
            format!("from another build of this version: {}", pending.join(", ")),
            Some("replace them with `pgtq migrate`"),
        )
    } else {
        check(Status::Ok, "match this program".to_owned(), None)
    }))
}

async fn runners(store: &Store) -> Result<Option<Check>, StoreError> {
    let runners = store.runners().await?;
    let lost = runners
        .iter()
        .filter(|runner| runner.state == "lost")
        .count();
    let live = runners.len() - lost;
    Ok(Some(Check {
        name: "runners",
        status: if live == 0 || lost > 0 {
            Status::Warn
        } else {
            Status::Ok
        },
        detail: format!("{live} live, {lost} lost"),
        fix: (live == 0).then(|| "start one with `pgtq run`".to_owned()),
    }))
}

/// Expired leases of external workers whose tasks nothing rescues.
async fn overdue(store: &Store) -> Result<Option<Check>, StoreError> {
    let workers = store.workers().await?;
    let longest = workers
        .iter()
        .filter_map(|worker| Some((worker.overdue_seconds?, &worker.name)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(seconds, _)| *seconds > OVERDUE.as_secs_f64());
    Ok(longest.map(|(seconds, name)| Check {
        name: "workers",
        status: Status::Warn,
        detail: format!("a lease of worker {name} expired {seconds:.0} s ago and its task was not rescued"),
        fix: Some("call `SELECT pgtq.tend()` once per second from a worker, or start a runner with `pgtq run`".to_owned()),
    }))
}

/// Paused queues.
async fn paused(store: &Store) -> Result<Option<Check>, StoreError> {
    let paused: Vec<String> = store
        .queues()
        .await?
        .into_iter()
        .filter(|queue| queue.paused_at.is_some())
        .map(|queue| queue.queue)
        .collect();
    Ok(paused.first().map(|first| Check {
        name: "queues",
        status: Status::Warn,
        detail: format!("paused: {}", paused.join(", ")),
        fix: Some(format!("pgtq resume {first}")),
    }))
}
