//! One file's way from bytes to a version that may go live, or why not.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use super::book::Ready;
use super::read::{FileBytes, ReadError, read_file};
use super::registry::{NewVersion, Registry};
use super::scan::Seen;
use super::status::PluginState;
use crate::sandbox::{LoadError, Sandbox, inspect};
use crate::task::{Digest, Handler, Manifest, Name};

/// Refused digests that are remembered; the oldest are forgotten first.
const MAX_REMEMBERED: usize = 1_000;

/// What [`Stages::load`] returns.
pub(super) type LoadFuture =
    Pin<Box<dyn Future<Output = Result<(Manifest, Vec<Arc<dyn Handler>>), LoadError>> + Send>>;

/// What the sandbox does for a file. A trait only so that tests can make a
/// compiler fail on demand.
pub(super) trait Stages: Send + Sync + 'static {
    /// The largest file, bytes.
    fn max_file_bytes(&self) -> u64;
    /// The handler names in the file; executes nothing.
    fn inspect(&self, bytes: &[u8]) -> Result<Vec<Name>, LoadError>;
    /// Compiles, calls `probing`, probes. `plugin` is the file's name without
    /// its ending. Stops when dropped.
    fn load(
        &self,
        plugin: &str,
        bytes: Arc<[u8]>,
        digest: Digest,
        probing: Box<dyn FnOnce() + Send>,
    ) -> LoadFuture;
}

impl Stages for Sandbox {
    fn max_file_bytes(&self) -> u64 {
        self.config().max_file_bytes
    }

    fn inspect(&self, bytes: &[u8]) -> Result<Vec<Name>, LoadError> {
        let inspection = inspect(bytes)?;
        let mut names: Vec<Name> = inspection.handlers.into_iter().map(|h| h.name).collect();
        // A linker puts them in any order; what people read should not change with it.
        names.sort();
        Ok(names)
    }

    fn load(
        &self,
        plugin: &str,
        bytes: Arc<[u8]>,
        digest: Digest,
        probing: Box<dyn FnOnce() + Send>,
    ) -> LoadFuture {
        let sandbox = self.clone();
        let plugin = plugin.to_owned();
        Box::pin(async move {
            let compiled = sandbox.compile(bytes, digest).await?;
            probing();
            let manifest = compiled.probe().await?;
            let handlers = compiled.handlers(&manifest, &plugin);
            Ok((manifest, handlers))
        })
    }
}

/// How a load ended.
pub(super) enum Ending {
    /// It passed every check.
    Accepted(NewVersion),
    /// These bytes are what the file serves already.
    Same(Digest),
    /// These bytes are what a file serves that is missing now.
    MovedFrom(String),
    /// It must not go live.
    Refused(Refusal),
    /// The file changed or vanished while it was read.
    Moving,
}

/// Why a file must not go live.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    /// The bytes, if they could be read.
    pub(super) digest: Option<Digest>,
    /// For people.
    pub(super) reason: String,
    pub(super) again: Again,
}

/// When it is worth trying again, apart from when the file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Never: these bytes are bad.
    Never,
    /// When another file stops serving a name.
    WhenNamesChange,
    /// After a while: it may have been this machine's fault.
    Later,
}

/// Loads files, one at a time; remembers what was refused for good.
pub(super) struct Loader {
    dir: PathBuf,
    stages: Box<dyn Stages>,
    registry: Registry,
    refused: Mutex<VecDeque<(Digest, String)>>,
}

impl Loader {
    pub(super) fn new(dir: &Path, stages: Box<dyn Stages>, registry: Registry) -> Loader {
        Loader {
            dir: dir.to_owned(),
            stages,
            registry,
            refused: Mutex::default(),
        }
    }

    /// Takes one file through all steps and shows each in the registry, but
    /// changes nothing that serves. `missing`: files that the last scan did
    /// not find. Cancel-safe: dropped, it stops.
    pub(super) async fn load(self: Arc<Self>, ready: Ready, missing: Vec<String>) -> Ending {
        match self.steps(&ready, &missing).await {
            Ok(ending) => ending,
            Err(refusal) => Ending::Refused(refusal),
        }
    }

    async fn steps(self: &Arc<Self>, ready: &Ready, missing: &[String]) -> Result<Ending, Refusal> {
        let file = ready.file.as_str();
        let expected = match &ready.seen {
            Seen::File(stamp) => *stamp,
            Seen::Odd(what) => return Err(Refusal::new(None, what.clone(), Again::Never)),
        };
        let Some(FileBytes {
            bytes,
            digest,
            stamp,
        }) = self.read(file).await?
        else {
            return Ok(Ending::Moving);
        };
        if !ready.restless && stamp != Some(expected) {
            return Ok(Ending::Moving);
        }

        if self.registry.serving(file) == Some(digest) {
            return Ok(Ending::Same(digest));
        }
        let serves_it = |from: &&String| self.registry.serving(from) == Some(digest);
        if let Some(from) = missing.iter().find(serves_it) {
            return Ok(Ending::MovedFrom(from.clone()));
        }
        if let Some(reason) = self.remembered(digest) {
            return Err(Refusal::new(Some(digest), reason, Again::Never));
        }

        self.note(file, PluginState::Validating, digest);
        let names = self.inspect(&bytes, digest).await?;
        if let Err(conflict) = self.registry.conflict(file, &names) {
            let reason = conflict.to_string();
            return Err(Refusal::new(Some(digest), reason, Again::WhenNamesChange));
        }

        self.note(file, PluginState::Compiling, digest);
        let probing = {
            let (loader, file) = (Arc::clone(self), file.to_owned());
            Box::new(move || loader.note(&file, PluginState::Probing, digest))
        };
        let loaded = self
            .stages
            .load(plugin_name(file), bytes, digest, probing)
            .await;
        let (manifest, handlers) = loaded.map_err(|error| self.refuse(digest, &error))?;
        Ok(Ending::Accepted(NewVersion {
            digest: Some(digest),
            plugin: Some(manifest.plugin),
            handlers,
        }))
    }

    /// None: the file is not there any more.
    async fn read(self: &Arc<Self>, file: &str) -> Result<Option<FileBytes>, Refusal> {
        let (path, limit) = (self.dir.join(file), self.stages.max_file_bytes());
        match blocking(move || read_file(&path, limit)).await? {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::Gone) => Ok(None),
            Err(error @ ReadError::Unfit(_)) => {
                Err(Refusal::new(None, error.to_string(), Again::Never))
            }
            Err(error @ ReadError::Io(_)) => {
                Err(Refusal::new(None, error.to_string(), Again::Later))
            }
        }
    }

    async fn inspect(
        self: &Arc<Self>,
        bytes: &Arc<[u8]>,
        digest: Digest,
    ) -> Result<Vec<Name>, Refusal> {
        let (loader, bytes) = (Arc::clone(self), Arc::clone(bytes));
        blocking(move || loader.stages.inspect(&bytes))
            .await?
            .map_err(|error| self.refuse(digest, &error))
    }

    fn note(&self, file: &str, state: PluginState, digest: Digest) {
        self.registry.note(file, state, Some(digest), None);
    }

    fn refuse(&self, digest: Digest, error: &LoadError) -> Refusal {
        let again = match error {
            // The machine may have been busy, or the program replaced under us.
            LoadError::CompileTimeout { .. }
            | LoadError::CompileMemory { .. }
            | LoadError::CompileKilled { .. }
            | LoadError::Compiler { .. }
            | LoadError::Probe(_)
            | LoadError::Internal(_) => Again::Later,
            _ => Again::Never,
        };
        let reason = error.to_string();
        if again == Again::Never {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.truncate(MAX_REMEMBERED - 1);
            refused.push_front((digest, reason.clone()));
        }
        Refusal::new(Some(digest), reason, again)
    }

    fn remembered(&self, digest: Digest) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let found = refused.iter().find(|(refused, _)| *refused == digest);
        found.map(|(_, reason)| reason.clone())
    }
}

impl Refusal {
    pub(super) fn new(digest: Option<Digest>, reason: String, again: Again) -> Refusal {
        Refusal {
            digest,
            reason,
            again,
        }
    }
}

/// What the operator called a plugin: its file's name without the ending.
pub(super) fn plugin_name(file: &str) -> &str {
    file.strip_suffix(".wasm").unwrap_or(file)
}

/// Runs `work` off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let reason = format!("internal error while loading: {error}");
        Refusal::new(None, reason, Again::Later)
    })
}
