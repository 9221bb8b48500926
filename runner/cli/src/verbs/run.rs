//! `pgtq run`: starts a runner.

mod database;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::sync::watch;

use crate::config::{Flag, values};
use crate::context::{Context, setting};
use crate::error::{Exit, Problem};
use crate::output::Cell;
use crate::runner::{Runner, Until};
use crate::signals::Signals;
use crate::verbs::push::{Wait, wait};
use crate::{progress, text};
use pgtq_engine::Summary;
use pgtq_engine::plugin::{PluginState, Registry};

use self::database::WaitFor;

/// Time limit for printing the summary: stdout may be a pipe without a reader.
const PRINT_LIMIT: Duration = Duration::from_secs(1);
/// Limit on rejected files that an error names.
const MAX_REJECTED: usize = 10;

/// Arguments of `pgtq run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Directory of .wasm files, watched for changes [env: PGTQ_PLUGINS] [default: plugins]
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<String>,
    /// Queues and their slots, such as media=4,default=8,* [env: PGTQ_QUEUES] [default: *]
    #[arg(long, value_name = "QUEUES")]
    pub(crate) queues: Option<String>,
    /// Concurrent attempts in queues without a number of slots [env: PGTQ_CONCURRENCY] [default: 4 per processor]
    #[arg(short, long, value_name = "N")]
    pub(crate) concurrency: Option<u32>,
    /// Exit when no task is runnable, with status 6 if a task failed
    #[arg(long)]
    pub(crate) drain: bool,
    /// Exit after this many tasks
    #[arg(long, value_name = "N")]
    pub(crate) max_tasks: Option<u64>,
    /// Exit after this time without a task
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) idle_exit: Option<Duration>,
    /// Read the plugin directory once, at startup
    #[arg(long, conflicts_with = "watch_poll")]
    pub(crate) no_watch: bool,
    /// Read the plugin directory at this interval instead of using file events, for network file systems
    #[arg(long, value_name = "DURATION", value_parser = text_duration)]
    pub(crate) watch_poll: Option<String>,
    /// Do not use LISTEN, for connection poolers in transaction mode [env: PGTQ_POLL_ONLY]
    #[arg(long)]
    pub(crate) poll_only: bool,
    /// Address for /healthz, /readyz and /metrics, such as 127.0.0.1:9090 [env: PGTQ_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// When to create or update the schema [env: PGTQ_MIGRATE] [default: never]
    #[arg(long, value_name = "WHEN", value_enum)]
    pub(crate) migrate: Option<When>,
    /// Wait at startup until the database and its schema are available, up to DURATION [default: exit with status 4 or 5]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = wait)]
    pub(crate) wait_for_database: Option<Wait>,
    /// Name of this runner [env: PGTQ_NAME] [default: host name and process id]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Time for running attempts to finish after SIGTERM [env: PGTQ_SHUTDOWN_TIMEOUT] [default: 8s]
    #[arg(long, value_name = "DURATION", value_parser = text_duration)]
    pub(crate) shutdown_timeout: Option<String>,
}

/// The values of `--migrate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// At startup
    Auto,
    /// Only with `pgtq migrate`
    Never,
}

fn text_duration(text: &str) -> Result<String, String> {
    values::duration(text).map(|_| text.to_owned())
}

impl RunArgs {
    fn flags(&self) -> Vec<Flag> {
        let watch = match (self.no_watch, &self.watch_poll) {
            (true, _) => setting("plugins.watch", "--no-watch", Some("off")),
            (false, Some(_)) => setting("plugins.watch", "--watch-poll", Some("poll")),
            (false, None) => None,
        };
        let migrate = self.migrate.map(|when| match when {
            When::Auto => "auto",
            When::Never => "never",
        });
        [
            setting("plugins.dir", "--plugins", self.plugins.clone()),
            setting("run.queues", "--queues", self.queues.clone()),
            setting("run.concurrency", "--concurrency", self.concurrency),
            setting(
                "database.poll_only",
                "--poll-only",
                self.poll_only.then_some("true"),
            ),
            setting("run.listen", "--listen", self.listen.clone()),
            setting("run.migrate", "--migrate", migrate),
            setting("run.name", "--name", self.name.clone()),
            setting(
                "run.shutdown_timeout",
                "--shutdown-timeout",
                self.shutdown_timeout.clone(),
            ),
            setting("plugins.rescan", "--watch-poll", self.watch_poll.clone()),
            watch,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

pub(crate) async fn run(args: RunArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(args.flags())?;
    context.writing(&config)?;
    let mut signals = Signals::catch()?;
    let wait = args
        .wait_for_database
        .map_or(WaitFor::Nothing, |Wait(limit)| WaitFor::Database(limit));
    let store = tokio::select! {
        store = database::connect(context, &config, wait) => store?,
        name = signals.next() => return Err(interrupted(name)),
    };
    let until = Until {
        eager: true,
        empty: args.drain,
        tasks: args.max_tasks,
        idle: args.idle_exit,
    };
    if config.run.plugins.is_file() {
        return Err(Problem::usage(format!(
            "`{}` is a file, not a directory of plugins",
            config.run.plugins.display()
        ))
        .help("pass the directory of .wasm files with --plugins"));
    }
    if !config.run.plugins.is_dir() {
        context.warn(format!(
            "the plugin directory `{}` does not exist yet; waiting for it",
            config.run.plugins.display()
        ));
    }
    let runner = tokio::select! {
        runner = Runner::start(&config, store, until) => runner?,
        name = signals.next() => return Err(interrupted(name)),
    };
    tokio::spawn(log_when_loaded(
        runner.directory.readiness(),
        runner.registry.clone(),
        config.run.plugins.clone(),
    ));
    let registry = runner.registry.clone();
    let shown = args.drain.then(|| watch(context, &runner));
    let summary = runner.finish(context, &mut signals).await;
    if let Some(shown) = shown {
        shown.abort();
    }
    let summary = summary?;
    let reported = report(context, &summary).await;
    match (args.drain, summary.failed) {
        (true, 1..) => Err(Problem::new(
            Exit::TaskFailed,
            format!("{} failed", text::tasks(summary.failed)),
        )
        .help("list them: pgtq tasks state:failed")),
        (true, 0) if registry.snapshot().handlers.is_empty() => {
            Err(nothing_to_run(&registry, &config.run.plugins))
        }
        _ => reported,
    }
}

/// The error of a drain without a handler, which has run no task.
fn nothing_to_run(registry: &Registry, plugins: &Path) -> Problem {
    let dir = plugins.display();
    let snapshot = registry.snapshot();
    let refused: Vec<String> = snapshot
        .plugins
        .iter()
        .filter(|plugin| plugin.state == PluginState::Refused)
        .map(|plugin| {
            let reason = plugin.reason.as_deref().unwrap_or("no reason given");
            format!("{}: {reason}", plugin.file)
        })
        .collect();
    let why = match (&snapshot.directory_problem, refused.as_slice()) {
        _ if !plugins.is_dir() => format!("the plugin directory `{dir}` does not exist"),
        (Some(trouble), _) => trouble.clone(),
        (None, []) => format!("the plugin directory `{dir}` contains no plugin"),
        (None, all) => {
            let shown = &all[..all.len().min(MAX_REJECTED)];
            format!("every plugin in `{dir}` was rejected\n{}", shown.join("\n"))
        }
    };
    Problem::failed(format!("no handler is loaded: {why}"))
        .help("pass the directory of .wasm files with --plugins")
}

/// Logs when the plugins that were in the directory at startup are loaded.
async fn log_when_loaded(mut loaded: watch::Receiver<bool>, registry: Registry, plugins: PathBuf) {
    // An error means that the runner has stopped.
    if loaded.wait_for(|loaded| *loaded).await.is_ok() {
        let handlers = registry.snapshot().handlers.len();
        tracing::info!(handlers, plugins = %plugins.display(), "running");
    }
}

fn interrupted(name: &str) -> Problem {
    Problem::new(
        Exit::Interrupted,
        format!("{name}: interrupted before the runner started"),
    )
}

/// Shows progress while draining, on a terminal.
fn watch(context: &Context, runner: &Runner) -> tokio::task::JoinHandle<()> {
    let spinner = progress::spinner(context, "draining");
    let stats = std::sync::Arc::clone(&runner.stats);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tick.tick().await;
            spinner.set_message(format!("{} finished", text::tasks(stats.n_final())));
        }
    })
}

async fn report(context: &Context, summary: &Summary) -> Result<(), Problem> {
    let rate = summary.complete as f64 / summary.seconds.max(1e-9);
    context.note(format!(
        "{} complete, {} failed, {} cancelled, {} retried in {:.1} s ({rate:.0}/s)",
        text::count(summary.complete),
        text::count(summary.failed),
        text::count(summary.cancelled),
        text::count(summary.retried),
        summary.seconds,
    ));
    if !context.out.is_json() {
        return Ok(());
    }
    let json = serde_json::json!({
        "complete": summary.complete, "failed": summary.failed, "cancelled": summary.cancelled,
        "retried": summary.retried, "released": summary.released, "stale": summary.stale,
        "seconds": summary.seconds,
    });
    let pairs: [(&str, Cell); 0] = [];
    let out = context.out;
    let text = out.render_one(
        "pgtq.summary/v1",
        &summary.complete.to_string(),
        &pairs,
        &json,
    );
    let sent = tokio::time::timeout(PRINT_LIMIT, out.send(text)).await;
    // Handled like a closed pipe.
    sent.unwrap_or_else(|_| Err(Problem::pipe_closed()))
}
