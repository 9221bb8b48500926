//! The environment of workloads: a private Postgres or the configured database, the
//! plugins, and a separate schema for each measurement, called a field.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::options::BenchOptions;
use crate::config::{Config, DatabaseSource};
use crate::context::Context;
use crate::error::Problem;
use crate::runner::{Runner, Until};
use crate::verbs::demo::stage::sources;
use crate::verbs::dev::{joined, say, start_postgres};
use crate::{database, machine, progress};
use pgtq_engine::plugin::Registry;
use pgtq_setup::postgres::{self, PrivatePostgres};
use pgtq_setup::toolchain::{BuildOptions, CompilerOutput, Toolchain, build_plugin};
use pgtq_store::{DatabaseConfig, Store};
use pgtq_task::{Name, NewTask};

/// Settings of the private server. They are large enough to avoid checkpoints during a
/// measurement. fsync stays on, because figures without it are meaningless.
const SETTINGS: [(&str, &str); 5] = [
    ("shared_buffers", "512MB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "15min"),
    ("max_connections", "400"),
    ("jit", "off"),
];

/// The environment of all workloads. The fields are dropped in order.
pub struct BenchEnvironment<'a> {
    pub(super) context: &'a Context,
    /// The options.
    pub options: BenchOptions,
    /// A runner's configuration, with the plugin directory set.
    pub config: Config,
    /// The task that most workloads push.
    pub task: NewTask,
    /// A directory for files of workloads.
    pub scratch: TempDir,
    database: DatabaseConfig,
    /// Prefix of the schemas: `<prefix>_1`, `<prefix>_2`, ...
    prefix: String,
    n_fields: Cell<u32>,
    server: Option<PrivatePostgres>,
}

impl<'a> BenchEnvironment<'a> {
    pub(super) async fn set(
        options: BenchOptions,
        examples: &'static [&'static str],
        context: &'a Context,
    ) -> Result<Self, Problem> {
        let mut config = context.config(Vec::new())?;
        // Some workloads run longer than the default cap allows.
        config.caps = config.limits.uncapped();
        context.writing(&config)?;
        let task = NewTask::new(Name::new(&options.handler)?, options.args.clone());
        let scratch = tempfile::Builder::new().prefix("pgtq-bench-").tempdir();
        let scratch = scratch.map_err(|error| machine::no_temporary(&error))?;
        config.run.plugins = match &options.plugins {
            Some(dir) => dir.clone(),
            None => build(context, examples, &scratch.path().join("plugins")).await?,
        };
        config.run.listen = None;
        config.run.name = "bench".to_owned();
        config.run.concurrency = options.slots.or(config.run.concurrency);
        let server = match context.global.database_url.is_some() {
            true => None,
            false => Some(start_postgres(context, durable()).await?),
        };
        let database = match &server {
            Some(server) => database::at(&config, &server.url())?,
            None => database::configured(&config)?.ok_or_else(database::unconfigured)?,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_nanos());
        Ok(BenchEnvironment {
            context,
            options,
            config,
            task,
            scratch,
            database,
            prefix: format!("pgtq_bench_{now:x}_{}", std::process::id()),
            n_fields: Cell::new(0),
            server,
        })
    }

    /// Facts that affect the figures: machine, versions and settings.
    pub(super) async fn facts(&self) -> Result<Vec<(String, String)>, Problem> {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(
                || "unknown".to_owned(),
                |(_, value)| value.trim().to_owned(),
            )
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let kind = match cfg!(debug_assertions) {
            true => "unoptimised build",
            false => "release build",
        };
        let load = file("/proc/loadavg");
        let mut facts = vec![
            (
                "processor".to_owned(),
                after(&file("/proc/cpuinfo"), "model name"),
            ),
            ("processors".to_owned(), processors.to_string()),
            (
                "memory".to_owned(),
                after(&file("/proc/meminfo"), "MemTotal"),
            ),
            (
                "kernel".to_owned(),
                file("/proc/sys/kernel/osrelease").trim().to_owned(),
            ),
            (
                "load before".to_owned(),
                load.split(' ').next().unwrap_or_default().to_owned(),
            ),
            (
                "pgtq".to_owned(),
                format!("{}, {kind}", env!("CARGO_PKG_VERSION")),
            ),
            (
                "wasmtime".to_owned(),
                pgtq_sandbox::engine_version().to_owned(),
            ),
        ];
        let store = Store::connect(self.database.clone()).await?;
        facts.extend(store.bench_facts().await?);
        Ok(facts)
    }

    /// Creates a schema and performs a checkpoint.
    pub async fn field(&self) -> Result<Field<'_>, Problem> {
        let number = self.n_fields.get() + 1;
        self.n_fields.set(number);
        let database = self.schema(number)?;
        let store = Store::connect(database).await?;
        store.migrate().await?;
        store.bench_checkpoint().await?;
        Ok(Field { stage: self, store })
    }

    fn schema(&self, number: u32) -> Result<DatabaseConfig, Problem> {
        let mut database = self.database.clone();
        database.schema = format!("{}_{number}", self.prefix).parse()?;
        Ok(database)
    }

    /// The URL of the database, for other processes.
    pub fn url(&self) -> Result<String, Problem> {
        match (&self.server, &self.config.database) {
            (Some(server), _) => Ok(server.url()),
            (None, DatabaseSource::Url(url)) => Ok(url.clone()),
            _ => Err(database::unconfigured()),
        }
    }

    /// Drops all schemas, including those of failed workloads, or stops the private server.
    pub(super) async fn remove(self) -> Result<(), Problem> {
        if let Some(server) = self.server {
            return Ok(joined(
                tokio::task::spawn_blocking(move || server.stop()).await,
            )??);
        }
        for number in 1..=self.n_fields.get() {
            let store = Store::connect(self.schema(number)?).await?;
            store.bench_drop().await?;
        }
        Ok(())
    }
}

/// A schema for one measurement.
pub struct Field<'a> {
    /// The stage.
    pub stage: &'a BenchEnvironment<'a>,
    /// Connections to the schema.
    pub store: Store,
}

impl Field<'_> {
    /// Opens separate connections, like another process.
    pub async fn connect(&self) -> Result<Store, Problem> {
        Ok(Store::connect(self.store.config().clone()).await?)
    }

    /// Starts the requested number of runners and loads their plugins.
    pub async fn runners(&self) -> Result<Runners, Problem> {
        self.runners_of(&self.stage.config).await
    }

    /// Like [`Field::runners`], with a configuration.
    pub async fn runners_of(&self, config: &Config) -> Result<Runners, Problem> {
        let mut runners = Vec::new();
        for _ in 0..self.stage.options.runners {
            let runner = Runner::start(config, self.connect().await?, Until::default()).await?;
            let handler = self.stage.task.handler.as_str();
            if runner.registry.handler(handler).is_none() {
                let plugins = config.run.plugins.display();
                return Err(Problem::not_found(format!(
                    "no plugin in `{plugins}` has a handler `{handler}`"
                ))
                .help("build the plugin into that directory: pgtq build --out DIR"));
            }
            runners.push(runner);
        }
        Ok(Runners(runners))
    }

    /// Drops the schema.
    pub async fn close(self) -> Result<(), Problem> {
        Ok(self.store.bench_drop().await?)
    }
}

/// Runners of this process.
pub struct Runners(Vec<Runner>);

impl Runners {
    /// Number of finished tasks of all runners.
    pub fn n_final(&self) -> u64 {
        self.0.iter().map(|runner| runner.stats.n_final()).sum()
    }

    /// Number of running attempts of all runners.
    pub fn n_running(&self) -> u64 {
        let running = |runner: &Runner| {
            runner
                .stats
                .running
                .load(std::sync::atomic::Ordering::Relaxed)
        };
        self.0.iter().map(running).sum()
    }

    /// Time since the first runner started to claim.
    pub fn elapsed(&self) -> std::time::Duration {
        let elapsed = self.0.iter().map(|runner| runner.stats.started.elapsed());
        elapsed.max().unwrap_or_default()
    }

    /// The handlers of each runner.
    pub fn registries(&self) -> impl Iterator<Item = &Registry> {
        self.0.iter().map(|runner| &runner.registry)
    }

    /// Drains all runners.
    pub async fn stop(self) -> Result<(), Problem> {
        for runner in self.0 {
            runner.stop().await?;
        }
        Ok(())
    }
}

fn durable() -> postgres::ServerOptions {
    let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    postgres::ServerOptions {
        durable: true,
        settings: settings.to_vec(),
        ..postgres::ServerOptions::ephemeral()
    }
}

async fn build(
    context: &Context,
    examples: &'static [&'static str],
    out: &Path,
) -> Result<PathBuf, Problem> {
    let dir = sources(&context.here)?;
    let quiet = context.global.quiet > 0;
    let spinner = progress::spinner(context, "building the example plugins");
    let out_dir = out.to_owned();
    let built = tokio::task::spawn_blocking(move || {
        let toolchain = Toolchain::ensure(&dir, &|line| say(quiet, line))?;
        for &package in examples {
            let options = BuildOptions {
                package: Some(package.to_owned()),
                out_dir: Some(out_dir.clone()),
                output: CompilerOutput::Keep,
                ..BuildOptions::default()
            };
            build_plugin(&toolchain, &dir, &options)?;
        }
        Ok::<(), Problem>(())
    });
    let built = joined(built.await);
    spinner.finish_and_clear();
    built??;
    Ok(out.to_owned())
}
