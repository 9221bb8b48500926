//! `pgtq deploy`: validates a file like a runner, then installs it atomically.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::plugins::statuses;
use crate::config::{Config, values};
use crate::context::{Context, setting};
use crate::database;
use crate::error::{Exit, Problem};
use crate::output::{Cell, Rows};
use crate::{arguments, machine, progress, text};
use pgtq_engine::plugin::{self, InstallAs, Installed};
use pgtq_store::{Filter, RunnerRow, Store};
use pgtq_task::{Digest, Manifest, State};

/// Polling interval of `--wait`.
const POLL: Duration = Duration::from_millis(200);
/// Limit on waiting tasks that are validated against a new schema.
const CHECKED_TASKS: u32 = 1_000;

/// Arguments of `pgtq deploy`.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// Plugin files (.wasm)
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Install the file under this name, which also selects its grants [default: the file name]
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Plugin directory [env: PGTQ_PLUGINS] [default: plugins]
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<String>,
    /// Validate the files without installing them
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait until every live runner has loaded the file; exit with status 124 after DURATION, 60s if omitted
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "60s", value_parser = values::duration)]
    pub(crate) wait: Option<Duration>,
}

pub(crate) async fn run(args: DeployArgs, context: &Context) -> Result<(), Problem> {
    if args.name.is_some() && args.files.len() > 1 {
        return Err(Problem::usage("--as can be used with one file only"));
    }
    let own = setting("plugins.dir", "--plugins", args.plugins.clone());
    let config = context.config(own.into_iter().collect())?;
    let dir = config.run.plugins.clone();
    let sandbox = machine::sandbox(&config, 2)?;
    let store = match (args.wait, database::configured(&config)) {
        (Some(_), _) => Some(database::open(context, &config).await?),
        // Only for a warning: a deploy must work without the database.
        (None, Ok(Some(_))) => database::open(context, &config).await.ok(),
        (None, _) => None,
    };
    let grants = |plugin: &str| config.grants.lines_of(plugin);
    let under = InstallAs {
        name: args.name.as_deref(),
        grants: Some(&grants),
    };
    let mut rows = Rows::new("pgtq.deployed/v1", &["file", "digest", "replaced"]);
    let mut installed = Vec::new();
    for file in &args.files {
        let checking = progress::spinner(context, format!("validating {}", file.display()));
        let loaded = machine::load(&sandbox, file).await;
        checking.finish_and_clear();
        let loaded = loaded?;
        if let Some(store) = &store {
            check_waiting_tasks(context, store, &loaded.manifest).await?;
        }
        if args.dry_run {
            let named = loaded.manifest.handlers.iter();
            let handlers = named.map(|handler| handler.name.clone()).collect();
            if dir.exists() {
                tokio::task::block_in_place(|| plugin::install_name(&dir, file, &handlers, under))?;
            }
            context.note(format!("{} would be accepted", file.display()));
            push(&mut rows, file, loaded.digest, None);
            continue;
        }
        machine::ensure_dir(&dir)?;
        let done = tokio::task::block_in_place(|| {
            plugin::install(&dir, file, under, |bytes| {
                match Digest::of(bytes) == loaded.digest {
                    true => Ok(()),
                    false => Err("the file changed during validation; deploy it again".to_owned()),
                }
            })
        })?;
        print_installed(context, &done);
        push(&mut rows, &done.file, done.digest, done.replaced);
        installed.push(done);
    }
    if context.out.is_json() {
        context.out.rows(&rows)?;
    }
    if let (Some(limit), Some(store)) = (args.wait, &store) {
        for done in &installed {
            live_everywhere(context, store, done, limit).await?;
        }
    }
    Ok(())
}

/// Adds a row for a file: the installed file, or the source file with `--dry-run`.
fn push(rows: &mut Rows, file: &Path, digest: Digest, replaced: Option<Digest>) {
    let file = file.display().to_string();
    let replaced = replaced.map(|digest| digest.to_string());
    let cells = vec![
        Cell::from(&file),
        Cell::new(digest.short(), digest.to_string()),
        Cell::from(replaced.as_deref().unwrap_or_default()),
    ];
    let json = serde_json::json!({
        "file": file,
        "digest": digest.to_string(),
        "replaced": replaced,
    });
    rows.push(digest, cells, json);
}

/// Prints what an installation changed.
pub(crate) fn print_installed(context: &Context, done: &Installed) {
    let file = done.file.display();
    match done.replaced {
        Some(old) if old == done.digest => context.note(format!("{file} is unchanged")),
        Some(old) => context.note(format!(
            "{file}: {} replaced {}",
            done.digest.short(),
            old.short()
        )),
        None => context.note(format!("{file}: {} installed", done.digest.short())),
    }
}

/// Warns about waiting tasks whose arguments the new version would reject.
async fn check_waiting_tasks(
    context: &Context,
    store: &Store,
    manifest: &Manifest,
) -> Result<(), Problem> {
    for handler in manifest
        .handlers
        .iter()
        .filter(|handler| handler.arguments.is_some())
    {
        let filter = Filter {
            states: vec![State::Scheduled, State::Runnable],
            handler: Some(handler.name.to_string()),
            limit: CHECKED_TASKS,
            ..Filter::default()
        };
        let tasks = store.tasks(&filter).await?;
        let invalid: Vec<_> = tasks
            .iter()
            .filter(|task| {
                serde_json::from_str(&task.args)
                    .is_ok_and(|value: Value| arguments::fit(handler, &value).is_err())
            })
            .collect();
        if let Some(first) = invalid.first() {
            context.warn(format!(
                "{} of handler `{}` waiting in queues do not match its new argument schema, for example task {}",
                text::tasks(invalid.len() as u64),
                handler.name,
                first.id
            ));
        }
    }
    Ok(())
}

/// Waits until every live runner has loaded the installed file.
pub(crate) async fn live_everywhere(
    context: &Context,
    store: &Store,
    done: &Installed,
    limit: Duration,
) -> Result<(), Problem> {
    let digest = done.digest.to_string();
    let name = done
        .file
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let spinner = progress::spinner(context, format!("waiting for the runners to load {name}"));
    let started = Instant::now();
    loop {
        let runners = store.runners().await?;
        let live: Vec<&RunnerRow> = runners
            .iter()
            .filter(|runner| runner.state == "running")
            .collect();
        if let Some((runner, reason)) = live
            .iter()
            .find_map(|runner| refusal(runner, &name, &digest))
        {
            spinner.finish_and_clear();
            return Err(Problem::failed(format!(
                "runner {runner} rejected {name}: {}",
                text::safe(&reason)
            )));
        }
        let missing: Vec<&str> = live
            .iter()
            .filter(|runner| !runner.digests.contains(&digest))
            .map(|runner| runner.name.as_str())
            .collect();
        if missing.is_empty() {
            spinner.finish_and_clear();
            match live.len() {
                0 => context.warn("no runner is live; a runner loads the file when it starts"),
                n => context.note(format!(
                    "live on {n} runner{} after {}",
                    if n == 1 { "" } else { "s" },
                    text::fine(started.elapsed())
                )),
            }
            return Ok(());
        }
        if started.elapsed() > limit {
            spinner.finish_and_clear();
            return Err(Problem::new(
                Exit::Elapsed,
                format!(
                    "timed out after {}; the file is not loaded by {}",
                    text::fine(limit),
                    missing.join(", ")
                ),
            )
            .help("check that these runners use this plugin directory; `pgtq plugins` lists their files"));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn refusal<'a>(runner: &'a RunnerRow, file: &str, digest: &str) -> Option<(&'a str, String)> {
    let text = |status: &Value, field: &str| {
        status
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    statuses(runner)
        .iter()
        .find(|status| {
            text(status, "file") == file
                && text(status, "digest") == digest
                && text(status, "state") == "refused"
        })
        .map(|status| (runner.name.as_str(), text(status, "reason")))
}

/// The configuration of a verb that writes to the plugin directory.
pub(crate) fn directory(context: &Context, plugins: Option<&String>) -> Result<Config, Problem> {
    let own = setting("plugins.dir", "--plugins", plugins);
    context.config(own.into_iter().collect())
}
