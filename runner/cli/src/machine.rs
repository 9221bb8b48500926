//! Sets up the sandbox and the plugin directory as the configuration says.

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

/// The grants and secrets of the configuration, and which secrets have no value.
/// Blocks on the disk.
pub(crate) fn grants(config: &Config) -> (GrantBook, Vec<MissingSecret>) {
    config.grants.resolve(&|name| std::env::var(name).ok())
}

/// A sandbox with room for `slots` attempts at once, in which only limits are granted.
pub fn sandbox(config: &Config, slots: u32) -> Result<Sandbox, Problem> {
    Ok(Sandbox::new(settings(config, slots)?)?)
}

/// What the configuration says about sandboxes. Of the grants only the limits: nothing
/// that leads out of a sandbox.
pub(crate) fn settings(config: &Config, slots: u32) -> Result<SandboxConfig, Problem> {
    descriptors::check()?;
    let compiler = Compiler::own_image().map_err(|error| {
        Problem::failed(format!("cannot open this program's own image: {error}"))
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

/// The directory for compiled code, or one for temporary files if that cannot be used:
/// there may be no home directory, or one that cannot be written. Blocks on the disk.
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
            None => "compiled code is not kept, and each start compiles all plugins".to_owned(),
        };
        tracing::warn!(
            "cannot keep compiled code in `{}`: {error}; {instead}",
            dir.display()
        );
    }
    None
}

/// The plugin directory, watched as configured.
pub(crate) fn plugins(config: &Config, sandbox: &Sandbox, registry: &Registry) -> PluginDirectory {
    let run = &config.run;
    let options = DirectoryOptions {
        rescan_every: match run.watch {
            // "off" reads the directory once; a day is as good as never.
            WatchMode::Off => std::time::Duration::from_secs(86_400),
            WatchMode::Events | WatchMode::Poll => run.rescan,
        },
        poll_only: run.watch != WatchMode::Events,
        ledger: sandbox.config().cache_dir.clone(),
        ..DirectoryOptions::default()
    };
    PluginDirectory::start(
        run.plugins.clone(),
        options,
        sandbox.clone(),
        registry.clone(),
    )
}

/// A plugin file read, compiled and asked for its manifest.
pub struct Loaded {
    /// The file's name without its ending: what grants call the plugin.
    pub(crate) plugin: String,
    pub(crate) digest: Digest,
    pub(crate) compiled: Compiled,
    /// What it says of itself.
    pub manifest: Manifest,
}

/// Reads and loads `file` as a runner would.
pub async fn load(sandbox: &Sandbox, file: &Path) -> Result<Loaded, Problem> {
    let bytes = read(file)?;
    let digest = Digest::of(&bytes);
    let refused =
        |reason: LoadError| Problem::failed(format!("{} is refused: {reason}", file.display()));
    let compiled = sandbox
        .compile(Arc::from(bytes), digest)
        .await
        .map_err(refused)?;
    let plugin = file.file_stem().unwrap_or_default();
    let plugin = plugin.to_string_lossy().into_owned();
    let manifest = compiled.probe_as(&plugin).await.map_err(refused)?;
    Ok(Loaded {
        plugin,
        digest,
        compiled,
        manifest,
    })
}

/// The file's bytes.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(file).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        Problem::new(exit, format!("cannot read `{}`: {error}", file.display()))
    })
}

/// A temporary file or directory could not be made.
pub(crate) fn no_temporary(error: &std::io::Error) -> Problem {
    let dir = std::env::temp_dir();
    Problem::failed(format!(
        "cannot use the directory for temporary files `{}`: {error}",
        dir.display()
    ))
    .help("set TMPDIR to a directory that exists, can be written and has room")
}

/// The plugin directory for a verb that writes to it; made when missing.
pub(crate) fn ensure_dir(dir: &Path) -> Result<PathBuf, Problem> {
    std::fs::create_dir_all(dir).map_err(|error| {
        Problem::failed(format!(
            "cannot make the directory `{}`: {error}",
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
            "no Rust toolchain here can build for WebAssembly\ntried {}",
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
