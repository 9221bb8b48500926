//! The steps of one file, from bytes to a version that may go live, or the reason for its
//! rejection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_name::plugin_name;
use super::ledger::{Ledger, MAX_CRASHES};
use super::load_request::{Order, Outline};
use super::read::{FileBytes, ReadError, read_file};
use super::ready_file::ReadyFile;
use super::registry::{NewVersion, Registry};
use super::rejected::{Refusal, RetryWhen};
use super::scan::Seen;
use super::stages::Stages;
use super::status::PluginState;
use pgtq_sandbox::LoadError;
use pgtq_task::Digest;

/// The result of the first step, if the file was not rejected.
#[derive(Debug)]
pub(super) enum Outlined {
    /// It may be loaded.
    Good(Outline),
    /// The file serves these bytes already.
    Same(Digest),
    /// A file that is missing now serves these bytes.
    MovedFrom(String),
    /// An earlier process crashed while it loaded these bytes: no other step may run
    /// meanwhile.
    Suspect,
    /// The file changed or disappeared while it was read.
    Moving,
}

/// Takes files through the two steps. Does not change what serves.
pub(super) struct Loader {
    dir: PathBuf,
    stages: Box<dyn Stages>,
    registry: Registry,
    ledger: Arc<Ledger>,
}

impl Loader {
    pub(super) fn new(
        dir: &Path,
        stages: Box<dyn Stages>,
        registry: Registry,
        ledger: Arc<Ledger>,
    ) -> Loader {
        Loader {
            dir: dir.to_owned(),
            stages,
            registry,
            ledger,
        }
    }

    /// Reads a file and lists its handlers. `missing`: files that the last scan did not
    /// find. Cancel-safe: stops when dropped.
    pub(super) async fn outline(
        self: Arc<Self>,
        order: Order,
        missing: Vec<String>,
    ) -> Result<Outlined, Refusal> {
        let (file, alone) = (order.ready.file.as_str(), order.alone);
        let expected = match &order.ready.seen {
            Seen::File(stamp) => *stamp,
            Seen::NotAFile(what) => return Err(Refusal::new(None, what.clone(), RetryWhen::Never)),
        };
        let Some(FileBytes {
            bytes,
            digest,
            stamp,
        }) = self.read(file).await?
        else {
            return Ok(Outlined::Moving);
        };
        if !order.ready.unsettled && stamp != Some(expected) {
            return Ok(Outlined::Moving);
        }

        if self.registry.serving(file) == Some(digest) {
            return Ok(Outlined::Same(digest));
        }
        let serves_it = |from: &&String| self.registry.serving(from) == Some(digest);
        if let Some(from) = missing.iter().find(serves_it) {
            return Ok(Outlined::MovedFrom(from.clone()));
        }
        let ledger = Arc::clone(&self.ledger);
        match blocking(move || ledger.crashes(digest, expected.modified())).await? {
            0 => {}
            n if n >= MAX_CRASHES => return Err(self.crash_refusal(file, digest, n)),
            _ if alone => {}
            _ => return Ok(Outlined::Suspect),
        }
        self.note(file, PluginState::Validating, digest);
        let (loader, name) = (Arc::clone(&self), file.to_owned());
        let names = blocking(move || {
            let note = loader.ledger.begin(digest, &name);
            let names = loader.stages.inspect(&bytes);
            drop(note);
            names
        });
        let names = names.await?.map_err(|error| refuse(digest, &error))?;
        Ok(Outlined::Good(Outline { digest, names }))
    }

    /// Compiles, links and probes a file with these bytes. `None`: the file has other
    /// bytes now, or is gone. Cancel-safe: stops when dropped.
    pub(super) async fn load(
        self: Arc<Self>,
        ready: ReadyFile,
        digest: Digest,
    ) -> Result<Option<NewVersion>, Refusal> {
        let file = ready.file.as_str();
        // Waiting files are not kept in memory.
        let bytes = match self.read(file).await? {
            Some(read) if read.digest == digest => read.bytes,
            _ => return Ok(None),
        };
        self.note(file, PluginState::Compiling, digest);
        let (ledger, name) = (Arc::clone(&self.ledger), file.to_owned());
        let note = blocking(move || ledger.begin(digest, &name)).await?;
        let probing = {
            let (loader, file) = (Arc::clone(&self), file.to_owned());
            Box::new(move || loader.note(&file, PluginState::Probing, digest))
        };
        let loaded = self
            .stages
            .load(plugin_name(file), bytes, digest, probing)
            .await;
        let (manifest, handlers) = loaded.map_err(|error| refuse(digest, &error))?;
        blocking(move || note.succeeded(digest)).await?;
        Ok(Some(NewVersion {
            digest: Some(digest),
            plugin: Some(manifest.plugin),
            handlers,
        }))
    }

    /// None: the file does not exist any more.
    async fn read(self: &Arc<Self>, file: &str) -> Result<Option<FileBytes>, Refusal> {
        let (path, limit) = (self.dir.join(file), self.stages.max_file_bytes());
        match blocking(move || read_file(&path, limit)).await? {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::Gone) => Ok(None),
            Err(error @ ReadError::Unfit(_)) => {
                Err(Refusal::new(None, error.to_string(), RetryWhen::Never))
            }
            Err(error @ ReadError::Io(_)) => {
                Err(Refusal::new(None, error.to_string(), RetryWhen::Later))
            }
        }
    }

    fn note(&self, file: &str, state: PluginState, digest: Digest) {
        self.registry.advance(file, state, digest);
    }

    fn crash_refusal(&self, file: &str, digest: Digest, n_crashes: usize) -> Refusal {
        let path = self.dir.join(file);
        let reason = format!(
            "a runner process crashed {n_crashes} times while it loaded these bytes (sha256 {digest}), so they are not loaded again; to try once more: touch {}, or remove the notes on these bytes from the directory `loads` in the cache directory",
            path.display()
        );
        Refusal::new(Some(digest), reason, RetryWhen::Never)
    }
}

fn refuse(digest: Digest, error: &LoadError) -> Refusal {
    let again = match error.may_pass_later() {
        true => RetryWhen::Later,
        false => RetryWhen::Never,
    };
    Refusal::new(Some(digest), error.to_string(), again)
}

/// Runs `work` off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let reason = format!("internal error while loading: {error}");
        Refusal::new(None, reason, RetryWhen::Later)
    })
}
