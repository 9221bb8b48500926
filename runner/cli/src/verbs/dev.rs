//! `pgtq dev`: a private queue in this directory. Starts a private Postgres with its data
//! in `.pgtq` and a runner, builds the plugin crates whenever their sources change, and
//! reloads the built plugins.

use std::fs::{File, TryLockError};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::context::{Context, setting};
use crate::database::{self, PRIVATE_URL};
use crate::error::{Exit, Problem};
use crate::runner::{Runner, Until};
use crate::signals::Signals;
use crate::{machine, sources, stderr, text};
use pgtq_setup::postgres::{PrivatePostgres, ServerOptions};
use pgtq_setup::toolchain::{BuildOptions, CompilerOutput, Toolchain, build_plugin};
use pgtq_store::{DatabaseConfig, Store};

/// Polling interval of the sources.
const POLL: Duration = Duration::from_millis(500);

/// Arguments of `pgtq dev`.
#[derive(Debug, Args)]
#[command(
    after_help = "While `pgtq dev` runs, other commands in this directory use its database:\n  pgtq push greet name=You --wait"
)]
pub(crate) struct DevArgs {
    /// Directory of .wasm files; the crate in the current directory, or else the crates in DIR, are built into it [env: PGTQ_PLUGINS] [default: plugins]
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<String>,
    /// Use a temporary database and remove it on exit
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Do not build plugin crates
    #[arg(long)]
    pub(crate) no_build: bool,
    /// Address for /healthz, /readyz and /metrics, such as 127.0.0.1:9090 [env: PGTQ_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
}

pub(crate) async fn run(args: DevArgs, context: &Context) -> Result<(), Problem> {
    let flags = [
        setting("plugins.dir", "--plugins", args.plugins.clone()),
        setting("run.listen", "--listen", args.listen.clone()),
    ];
    let mut config = context.config(flags.into_iter().flatten().collect())?;
    // Requested limits are not reduced during development; `pgtq inspect` shows what a
    // runner would reduce.
    config.caps = config.limits.uncapped();
    let mut signals = Signals::catch()?;
    tokio::select! {
        started = start(&args, context, &config) => {
            let (dev, runner) = started?;
            let done = runner.finish(context, &mut signals).await;
            drop(dev);
            done.map(drop)
        }
        name = interrupted() => Err(Problem::new(Exit::Interrupted, format!("{name}: interrupted before the runner started"))),
    }
}

// A second pair of signal handlers: those of `run` belong to the runner once it has started.
async fn interrupted() -> &'static str {
    match Signals::catch() {
        Ok(mut signals) => signals.next().await,
        Err(_) => std::future::pending().await,
    }
}

/// Resources of the verb. The fields are dropped in order: the builder and the address file
/// before the server.
struct Dev {
    _builder: Option<Builder>,
    _address: Option<Address>,
    _server: Option<PrivatePostgres>,
    _alone: Option<File>,
}

/// Locks the directory against another `pgtq dev`: the first one to stop would stop the
/// database of the other. Held until dropped.
fn alone(context: &Context) -> Result<File, Problem> {
    let dir = machine::ensure_dir(&context.here.join(".pgtq"))?;
    let file = File::create(dir.join("dev.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Problem::failed(
            "`pgtq dev` is already running in this directory",
        )
        .help("use it from this directory: pgtq push HANDLER …")
        .help("or start another one in a different directory, or with --ephemeral")),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

async fn start(
    args: &DevArgs,
    context: &Context,
    config: &Config,
) -> Result<(Dev, Runner), Problem> {
    let own = !args.ephemeral && context.global.database_url.is_none();
    let alone = own.then(|| alone(context)).transpose()?;
    let (server, database) = database(args, context, config).await?;
    let address = server
        .as_ref()
        .map(|server| Address::write(&context.here, &server.url()))
        .transpose()?;
    let store = Store::connect(database).await?;
    for (version, name) in store.migrate().await?.versions {
        context.note(format!(
            "\x1b[32m✓\x1b[0m schema {} {version} {name}",
            config.schema
        ));
    }
    machine::ensure_dir(&config.run.plugins)?;
    let crates = match args.no_build {
        true => Vec::new(),
        false => sources::crates(&context.here, &config.run.plugins),
    };
    let builder = match crates.is_empty() {
        true => None,
        false => Some(Builder::start(context, &crates, &config.run.plugins).await),
    };
    let runner = Runner::start(config, store, Until::default()).await?;
    let snapshot = runner.registry.snapshot();
    let mut names: Vec<&str> = snapshot.handlers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    context.note(match names.as_slice() {
        [] => format!(
            "no handlers yet: copy a .wasm file into {}",
            config.run.plugins.display()
        ),
        names => format!("\x1b[32m✓\x1b[0m handlers: {}", names.join(", ")),
    });
    context.note(
        "push tasks from another terminal in this directory: pgtq push HANDLER …; press Ctrl-C to stop",
    );
    let dev = Dev {
        _builder: builder,
        _address: address,
        _server: server,
        _alone: alone,
    };
    Ok((dev, runner))
}

/// Starts the private server, unless the command line names a database.
async fn database(
    args: &DevArgs,
    context: &Context,
    config: &Config,
) -> Result<(Option<PrivatePostgres>, DatabaseConfig), Problem> {
    if context.global.database_url.is_some() {
        let named = database::configured(config)?.ok_or_else(database::unconfigured)?;
        return Ok((None, named));
    }
    let options = match args.ephemeral {
        true => ServerOptions::ephemeral(),
        false => ServerOptions::keep(context.here.join(".pgtq/postgres")),
    };
    let server = start_postgres(context, options).await?;
    let url = server.url();
    context.note(format!("\x1b[32m✓\x1b[0m private Postgres: {url}"));
    let found = database::at(config, &url)?;
    Ok((Some(server), found))
}

/// Starts a private server on a blocking thread, so that signals are handled meanwhile.
pub(crate) async fn start_postgres(
    context: &Context,
    options: ServerOptions,
) -> Result<PrivatePostgres, Problem> {
    let quiet = context.global.quiet > 0;
    let started = tokio::task::spawn_blocking(move || {
        PrivatePostgres::start(&options, &|line| say(quiet, line))
    });
    Ok(joined(started.await)??)
}

/// Prints a step of the setup, for blocking threads.
pub(crate) fn say(quiet: bool, line: &str) {
    if !quiet {
        stderr::styled(&format!("\x1b[2m→ {line}\x1b[0m\n"));
    }
}

/// The result of a blocking step.
pub(crate) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, Problem> {
    result.map_err(|error| Problem::failed(format!("a background step failed: {error}")))
}

/// The file with the URL of the private server, for other verbs.
struct Address(PathBuf);

impl Address {
    fn write(here: &Path, url: &str) -> Result<Self, Problem> {
        let path = here.join(PRIVATE_URL);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(&path, format!("{url}\n"))?;
        Ok(Address(path))
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        // A stale file would lead to "cannot reach the database".
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Builds crates, and rebuilds them when a source changes.
struct Builder {
    _task: AbortOnDropHandle<()>,
}

impl Builder {
    /// Returns after the first build, whether it succeeds or fails.
    async fn start(context: &Context, crates: &[PathBuf], out: &Path) -> Builder {
        let quiet = context.global.quiet > 0;
        for dir in crates {
            build(quiet, dir.clone(), out.to_owned()).await;
        }
        let crates = crates.to_vec();
        let out = out.to_owned();
        let task = tokio::spawn(async move {
            let mut seen: Vec<Option<SystemTime>> =
                crates.iter().map(|dir| sources::newest(dir)).collect();
            let mut tick = tokio::time::interval(POLL);
            loop {
                tick.tick().await;
                for (dir, seen) in crates.iter().zip(&mut seen) {
                    let newest = sources::newest(dir);
                    if newest != *seen {
                        *seen = newest;
                        build(quiet, dir.clone(), out.clone()).await;
                    }
                }
            }
        });
        Builder {
            _task: AbortOnDropHandle::new(task),
        }
    }
}

/// Builds one crate. Prints a failure; the previous version stays live.
async fn build(quiet: bool, dir: PathBuf, out: PathBuf) {
    let shown = dir.display().to_string();
    let built = tokio::task::spawn_blocking(move || {
        let toolchain = Toolchain::ensure(&dir, &|line| say(quiet, line))?;
        // Without a terminal, cargo would block on a slow reader or fail without one.
        let output = match std::io::stderr().is_terminal() {
            true => CompilerOutput::Show,
            false => CompilerOutput::Keep,
        };
        let options = BuildOptions {
            out_dir: Some(out),
            output,
            ..BuildOptions::default()
        };
        Ok::<_, Problem>(build_plugin(&toolchain, &dir, &options)?)
    });
    match joined(built.await).and_then(|built| built) {
        Ok(built) => say(
            quiet,
            &format!("built {shown} in {}", text::fine(built.took)),
        ),
        Err(problem) => stderr::styled(&problem.styled()),
    }
}
