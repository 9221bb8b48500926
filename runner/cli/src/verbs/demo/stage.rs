//! The environment of the tour: a private Postgres, plugins built from this repository into
//! a temporary directory, and a runner.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::guide::Guide;
use crate::config::Config;
use crate::error::Problem;
use crate::runner::{Runner, Until};
use crate::verbs::dev::{joined, say, start_postgres};
use crate::{database, machine, progress, text};
use pgtq_engine::plugin::PluginState;
use pgtq_setup::postgres::{PrivatePostgres, ServerOptions};
use pgtq_setup::toolchain::{BuildOptions, Built, CompilerOutput, Toolchain, build_plugin};
use pgtq_store::Store;
use pgtq_task::{HandlerInfo, NewTask, State, TaskId};

/// The fields are dropped in order: the runner before its database.
pub(crate) struct DemoEnvironment {
    pub(crate) runner: Runner,
    pub(crate) store: Store,
    /// The plugin directory.
    pub(crate) plugins: PathBuf,
    /// The next version of `hello`, which is not installed yet.
    pub(crate) next_hello: PathBuf,
    /// The sources of the example plugins.
    pub(crate) sources: PathBuf,
    /// The URL of the database, for other terminals.
    pub(crate) url: String,
    server: Option<PrivatePostgres>,
    _directory: TempDir,
}

impl DemoEnvironment {
    /// Sets up the environment and prints each step.
    pub(crate) async fn set(guide: Guide<'_>) -> Result<DemoEnvironment, Problem> {
        let context = guide.context;
        let mut config = context.config(Vec::new())?;
        let sources = sources(&context.here)?;
        let directory = tempfile::Builder::new().prefix("pgtq-demo-").tempdir();
        let directory = directory.map_err(|error| machine::no_temporary(&error))?;
        let started = Instant::now();
        let named = context.global.database_url.is_some();
        let server = match named {
            true => None,
            false => Some(start_postgres(context, ServerOptions::ephemeral()).await?),
        };
        let (url, database) = match &server {
            Some(server) => {
                let url = server.url();
                let place = server.dir().display().to_string();
                guide
                    .done(
                        "private Postgres started",
                        format!("{place}, {}", text::fine(started.elapsed())),
                    )
                    .await?;
                let database = database::at(&config, &url)?;
                (url, database)
            }
            None => {
                let database = database::configured(&config)?.ok_or_else(database::unconfigured)?;
                guide
                    .done("connected to your database", database.place())
                    .await?;
                (database.place(), database)
            }
        };
        let store = Store::connect(database).await?;
        let started = Instant::now();
        store.migrate().await?;
        guide
            .done(
                format!("schema {} is up to date", config.schema),
                format!(
                    "version {}, {}",
                    pgtq_store::SCHEMA_VERSION,
                    text::fine(started.elapsed())
                ),
            )
            .await?;
        let plugins = directory.path().join("plugins");
        let next = directory.path().join("next");
        let next_hello = build(guide, &sources, &plugins, &next).await?;
        config.run.plugins.clone_from(&plugins);
        config.run.listen = None;
        config.run.name = "demo".to_owned();
        let runner = start(guide, &config, &store).await?;
        Ok(DemoEnvironment {
            runner,
            store,
            plugins,
            next_hello,
            sources,
            url,
            server,
            _directory: directory,
        })
    }

    /// The first handler of a plugin file.
    pub(crate) fn handler_of(&self, file: &str) -> Option<HandlerInfo> {
        let snapshot = self.runner.registry.snapshot();
        let name = snapshot.plugin(file)?.handlers.first()?.clone();
        Some(snapshot.handlers.get(&name)?.info().clone())
    }

    /// Pushes one task and waits until it is complete.
    pub(crate) async fn result_of(&self, task: NewTask) -> Result<pgtq_store::TaskDetail, Problem> {
        let pushed = self.store.push(&[task]).await?;
        let id = pushed.first().map_or(TaskId(0), |one| one.id);
        let ended = self
            .store
            .wait_final(id, Some(Duration::from_secs(60)))
            .await?;
        let ended = ended
            .ok_or_else(|| Problem::failed(format!("task {id} did not finish within a minute")))?;
        match ended.task.state {
            State::Complete => Ok(ended),
            state => Err(Problem::failed(format!(
                "task {id} {state}: {}",
                ended.task.error_message.unwrap_or_default()
            ))),
        }
    }

    /// Waits until the runner stops unexpectedly.
    pub(crate) async fn ended(&self) {
        let draining = pgtq_engine::Phase::Draining;
        self.runner.shutdown.reached(draining).await;
    }

    /// Stops the runner, then the server.
    pub(crate) async fn stop(self) -> Result<(), Problem> {
        self.runner.stop().await?;
        drop(self.store);
        let Some(server) = self.server else {
            return Ok(());
        };
        joined(tokio::task::spawn_blocking(move || server.stop()).await)??;
        Ok(())
    }
}

/// The directory `plugins` of the repository: in `here` or a parent directory, otherwise in
/// the repository from which this program was built.
pub(crate) fn sources(here: &Path) -> Result<PathBuf, Problem> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    here.ancestors()
        .chain(built_from)
        .map(|dir| dir.join("plugins"))
        .find(|dir| dir.join("hello/Cargo.toml").is_file() && dir.join("Cargo.toml").is_file())
        .ok_or_else(|| {
            Problem::not_found("the sources of the example plugins were not found")
                .help("run pgtq in a clone of its repository")
                .help("or create your own plugin: pgtq new media && cd media && pgtq dev")
        })
}

/// Builds all plugins into `out`, and the next version of `hello` into `next`.
async fn build(
    guide: Guide<'_>,
    sources: &Path,
    out: &Path,
    next: &Path,
) -> Result<PathBuf, Problem> {
    let context = guide.context;
    let started = Instant::now();
    let quiet = context.global.quiet > 0;
    let spinner = progress::spinner(
        context,
        "building the example plugins for WebAssembly (takes a minute or two the first time)",
    );
    if !context.watched {
        context.note(
            "→ building the example plugins for WebAssembly (takes a minute or two the first time)",
        );
    }
    let (dir, all, later) = (sources.to_owned(), out.to_owned(), next.to_owned());
    let built = tokio::task::spawn_blocking(move || {
        let toolchain = Toolchain::ensure(&dir, &|line| say(quiet, line))?;
        let second = BuildOptions {
            package: Some("hello".to_owned()),
            env: vec![("HELLO_VERSION".to_owned(), "2".to_owned())],
            out_dir: Some(later),
            output: CompilerOutput::Keep,
            ..BuildOptions::default()
        };
        let second = build_plugin(&toolchain, &dir, &second)?;
        let first = BuildOptions {
            out_dir: Some(all),
            output: CompilerOutput::Keep,
            ..BuildOptions::default()
        };
        let first = build_plugin(&toolchain, &dir, &first)?;
        Ok::<(Built, Built), Problem>((first, second))
    });
    let built = joined(built.await);
    spinner.finish_and_clear();
    let (first, second) = built??;
    guide
        .done(
            format!("{} plugins built for WebAssembly", first.artifacts.len()),
            text::fine(started.elapsed()),
        )
        .await?;
    let hello = second.wasm_of("hello").map(Path::to_owned);
    hello.ok_or_else(|| Problem::failed("the build produced no `hello` plugin"))
}

async fn start(guide: Guide<'_>, config: &Config, store: &Store) -> Result<Runner, Problem> {
    let started = Instant::now();
    let spinner = progress::spinner(guide.context, "compiling the plugins to machine code");
    let runner = Runner::start(config, store.clone(), Until::default()).await;
    spinner.finish_and_clear();
    let runner = runner?;
    let snapshot = runner.registry.snapshot();
    if let Some(refused) = snapshot
        .plugins
        .iter()
        .find(|plugin| plugin.state == PluginState::Refused)
    {
        return Err(Problem::failed(format!(
            "{} was rejected: {}",
            refused.file,
            refused.reason.as_deref().unwrap_or("no reason given")
        )));
    }
    let names: Vec<String> = snapshot
        .plugins
        .iter()
        .filter_map(|plugin| plugin.plugin.as_ref())
        .map(|plugin| format!("{} {}", plugin.name, plugin.version))
        .collect();
    guide
        .done(
            format!("{} handlers are live", snapshot.handlers.len()),
            format!("{}, {}", names.join(" · "), text::fine(started.elapsed())),
        )
        .await?;
    Ok(runner)
}
