//! Sets up the sandbox and the plugin directory from the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::grants::MissingSecret;
use crate::config::{Config, WatchMode};
use pgtq_engine::plugin::{DirectoryOptions, InstallError, PluginDirectory, Registry};
use pgtq_sandbox::{
    Allocator, Compiled, Compiler, LoadError, PrivateDir, Sandbox, SandboxConfig, SandboxError,
};
use pgtq_setup::postgres::PostgresError;
use pgtq_setup::template::TemplateError;
use pgtq_setup::toolchain::{BuildError, NoToolchain};
use pgtq_task::{Digest, GrantBook, Manifest, PushFacts};

use super::descriptors;
use super::error::{Exit, Problem};

/// The grants and secrets of the configuration, and the secrets without a value. Reads
/// files, so it blocks.
pub(crate) fn grants(config: &Config) -> (GrantBook, Vec<MissingSecret>) {
    config.grants.resolve(&|name| std::env::var(name).ok())
}

/// A sandbox for `slots` concurrent attempts, which grants limits but no capabilities.
pub fn sandbox(config: &Config, slots: u32) -> Result<Sandbox, Problem> {
    Ok(Sandbox::new(settings(config, slots)?)?)
}

/// The settings of a sandbox. Includes granted limits, but no granted capabilities.
pub(crate) fn settings(config: &Config, slots: u32) -> Result<SandboxConfig, Problem> {
    descriptors::check()?;
    let compiler = Compiler::own_image().map_err(|error| {
        Problem::failed(format!(
            "cannot open the executable of this process: {error}"
        ))
        .help("mount /proc")
    })?;
    let run = &config.run;
    Ok(SandboxConfig {
        allocator: match run.pooling {
            true => Allocator::Pooling,
            false => Allocator::OnDemand,
        },
        zero_stacks: run.zero_stacks,
        slots,
        defaults: config.limits.clone(),
        cap: config.caps.clone(),
        overrides: config.handlers.clone(),
        push_facts: Arc::new(PushFacts::new(config.waiting)),
        grants: Arc::new(ArcSwap::from_pointee(config.grants.limits())),
        http_proxy: config.http_proxy.clone().map(Arc::new),
        cache_dir: private_dir(config),
        compiler: Some(compiler),
        compile_timeout: run.compile_timeout,
        compile_memory: run.compile_memory,
        max_file_bytes: run.max_file,
        ..SandboxConfig::default()
    })
}

/// The directory for compiled code, or a temporary one if that is not usable, for example
/// because there is no writable home directory. Blocks.
fn private_dir(config: &Config) -> Option<PathBuf> {
    let temporary = std::env::temp_dir().join(format!("pgtq-{}", pgtq_sandbox::user()));
    let mut candidates = config.run.cache.iter().chain([&temporary]).peekable();
    while let Some(dir) = candidates.next() {
        let error = match PrivateDir::open(dir) {
            Ok(_) => return Some(dir.clone()),
            Err(error) => error,
        };
        let instead = match candidates.peek() {
            Some(next) => format!("trying `{}`", next.display()),
            None => "compiled code is not cached, and every start compiles all plugins".to_owned(),
        };
        tracing::warn!(
            "cannot cache compiled code in `{}`: {error}; {instead}",
            dir.display()
        );
    }
    None
}

/// Starts to watch the plugin directory.
pub(crate) fn plugins(config: &Config, sandbox: &Sandbox, registry: &Registry) -> PluginDirectory {
    let run = &config.run;
    let options = DirectoryOptions {
        rescan_every: match run.watch {
            // "off" reads the directory once: one day stands for never.
            WatchMode::Off => std::time::Duration::from_secs(86_400),
            WatchMode::Events | WatchMode::Poll => run.rescan,
        },
        poll_only: run.watch != WatchMode::Events,
        load_journal: sandbox.config().cache_dir.clone(),
        ..DirectoryOptions::default()
    };
    PluginDirectory::start(
        run.plugins.clone(),
        options,
        sandbox.clone(),
        registry.clone(),
    )
}

/// A plugin file that was read, compiled and probed for its manifest.
pub struct LoadedPlugin {
    /// The file name without extension, which selects the grants.
    pub(crate) plugin: String,
    pub(crate) digest: Digest,
    pub(crate) compiled: Compiled,
    /// The manifest of the plugin.
    pub manifest: Manifest,
}

/// Reads and loads `file` like a runner.
pub async fn load(sandbox: &Sandbox, file: &Path) -> Result<LoadedPlugin, Problem> {
    let bytes = read(file)?;
    let digest = Digest::of(&bytes);
    let refused =
        |reason: LoadError| Problem::failed(format!("{} was rejected: {reason}", file.display()));
    let compiled = sandbox
        .compile(Arc::from(bytes), digest)
        .await
        .map_err(refused)?;
    let plugin = file.file_stem().unwrap_or_default();
    let plugin = plugin.to_string_lossy().into_owned();
    let manifest = compiled.probe_as(&plugin).await.map_err(refused)?;
    Ok(LoadedPlugin {
        plugin,
        digest,
        compiled,
        manifest,
    })
}

/// Reads a file.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(file).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        Problem::new(exit, format!("cannot read `{}`: {error}", file.display()))
    })
}

/// The error if a temporary file or directory cannot be created.
pub(crate) fn no_temporary(error: &std::io::Error) -> Problem {
    let dir = std::env::temp_dir();
    Problem::failed(format!(
        "cannot use the temporary directory `{}`: {error}",
        dir.display()
    ))
    .help("set TMPDIR to a writable directory with free space")
}

/// Creates the directory if it is missing.
pub(crate) fn ensure_dir(dir: &Path) -> Result<PathBuf, Problem> {
    std::fs::create_dir_all(dir).map_err(|error| {
        Problem::failed(format!(
            "cannot create the directory `{}`: {error}",
            dir.display()
        ))
    })?;
    Ok(dir.to_owned())
}

impl From<SandboxError> for Problem {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Config(_) => Problem::usage(format!("cannot {error}")),
            SandboxError::Engine { .. } => Problem::failed(format!("cannot {error}")),
        }
    }
}

impl From<InstallError> for Problem {
    fn from(error: InstallError) -> Self {
        let exit = match &error {
            InstallError::Unknown { .. } | InstallError::NoSuchVersion { .. } => Exit::NotFound,
            _ => Exit::Failed,
        };
        Problem::new(exit, error.to_string())
    }
}

impl From<PostgresError> for Problem {
    fn from(error: PostgresError) -> Self {
        match error {
            PostgresError::Missing(missing) => {
                let mut problem = Problem::failed(format!(
                    "no Postgres server programs found\nlooked in {}",
                    missing.tried.join(", ")
                ));
                problem.help = missing.fixes;
                problem
            }
            other => Problem::failed(other.to_string()),
        }
    }
}

impl From<NoToolchain> for Problem {
    fn from(error: NoToolchain) -> Self {
        Problem::failed(format!(
            "no Rust toolchain with the WebAssembly target was found\ntried {}",
            error.tried.join("\n      ")
        ))
        .help(error.fix)
    }
}

impl From<BuildError> for Problem {
    fn from(error: BuildError) -> Self {
        match &error {
            BuildError::Compile { text, .. } if !text.is_empty() => {
                Problem::failed(format!("{error}\n{text}"))
            }
            _ => Problem::failed(error.to_string()),
        }
    }
}

impl From<TemplateError> for Problem {
    fn from(error: TemplateError) -> Self {
        Problem::usage(error.to_string())
    }
}
