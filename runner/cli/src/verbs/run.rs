//! `pgtq run`: a runner for production.

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

use self::database::Patience;

/// How long the summary waits for its reader: it may share a pipe with a log that
/// nobody reads.
const READ_WITHIN: Duration = Duration::from_secs(1);
/// Refused files that an error names.
const MOST_REFUSED: usize = 10;

/// Run handlers from ./plugins against your database.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Directory of .wasm files, watched [env: PGTQ_PLUGINS] [default: plugins]
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<String>,
    /// Queues and their slots, like media=4,default=8,* [env: PGTQ_QUEUES] [default: *]
    #[arg(long, value_name = "QUEUES")]
    pub(crate) queues: Option<String>,
    /// Attempts at once, for queues without a number [env: PGTQ_CONCURRENCY] [default: 4 per processor]
    #[arg(short, long, value_name = "N")]
    pub(crate) concurrency: Option<u32>,
    /// End when nothing is runnable; status 6 if a task failed
    #[arg(long)]
    pub(crate) drain: bool,
    /// End after this many tasks
    #[arg(long, value_name = "N")]
    pub(crate) max_tasks: Option<u64>,
    /// End after this long without a task
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) idle_exit: Option<Duration>,
    /// Read the plugin directory once
    #[arg(long, conflicts_with = "watch_poll")]
    pub(crate) no_watch: bool,
    /// Do not rely on file events, read the directory this often (network file systems)
    #[arg(long, value_name = "TIME", value_parser = text_duration)]
    pub(crate) watch_poll: Option<String>,
    /// Never LISTEN: for poolers in transaction mode [env: PGTQ_POLL_ONLY]
    #[arg(long)]
    pub(crate) poll_only: bool,
    /// Address for /healthz, /readyz and /metrics [env: PGTQ_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Create or update the schema at start [env: PGTQ_MIGRATE] [default: never]
    #[arg(long, value_name = "WHEN", value_enum)]
    pub(crate) migrate: Option<When>,
    /// Wait for the database and its schema at start, this long at most [default: end with status 4 or 5]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = wait)]
    pub(crate) wait_for_database: Option<Wait>,
    /// This runner's name [env: PGTQ_NAME] [default: host and process id]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Time for running attempts after SIGTERM [env: PGTQ_SHUTDOWN_TIMEOUT] [default: 8s]
    #[arg(long, value_name = "TIME", value_parser = text_duration)]
    pub(crate) shutdown_timeout: Option<String>,
}

/// When the schema is migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// At start
    Auto,
    /// Only by `pgtq migrate`
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
    let patience = args
        .wait_for_database
        .map_or(Patience::None, |Wait(limit)| Patience::Wait(limit));
    let store = tokio::select! {
        store = database::connect(context, &config, patience) => store?,
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
        .help("name the directory of .wasm files with --plugins"));
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
    tokio::spawn(tell_when_loaded(
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
        .help("see them: pgtq tasks state:failed")),
        (true, 0) if registry.snapshot().handlers.is_empty() => {
            Err(nothing_to_run(&registry, &config.run.plugins))
        }
        _ => reported,
    }
}

/// A drain without a handler has looked at no task.
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
        (None, []) => format!("the plugin directory `{dir}` holds no plugin"),
        (None, all) => {
            let shown = &all[..all.len().min(MOST_REFUSED)];
            format!("every plugin in `{dir}` is refused\n{}", shown.join("\n"))
        }
    };
    Problem::failed(format!("no handler could be run: {why}"))
        .help("name the directory of .wasm files with --plugins")
}

/// Says once that what was in the plugin directory at the start is loaded.
async fn tell_when_loaded(mut loaded: watch::Receiver<bool>, registry: Registry, plugins: PathBuf) {
    // An error means that the runner is gone.
    if loaded.wait_for(|loaded| *loaded).await.is_ok() {
        let handlers = registry.snapshot().handlers.len();
        tracing::info!(handlers, plugins = %plugins.display(), "running");
    }
}

fn interrupted(name: &str) -> Problem {
    Problem::new(
        Exit::Interrupted,
        format!("{name} before the runner had started"),
    )
}

/// A line of progress while draining, on a terminal only.
fn watch(context: &Context, runner: &Runner) -> tokio::task::JoinHandle<()> {
    let spinner = progress::spinner(context, "draining");
    let stats = std::sync::Arc::clone(&runner.stats);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tick.tick().await;
            spinner.set_message(format!("{} ended", text::tasks(stats.n_final())));
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
    let sent = tokio::time::timeout(READ_WITHIN, out.send(text)).await;
    // As where the reader went away.
    sent.unwrap_or_else(|_| Err(Problem::pipe_closed()))
}
