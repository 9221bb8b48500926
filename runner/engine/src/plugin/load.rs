//! The steps of one file, from bytes to a version that may go live, or the reason for its
//! rejection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_name::plugin_name;
use super::load_journal::{LoadJournal, MAX_CRASHES};
use super::load_request::{InspectedFile, LoadRequest};
use super::read::{FileBytes, ReadError, read_file};
use super::ready_file::ReadyFile;
use super::registry::{NewVersion, Registry};
use super::rejected::{PluginRejected, RetryWhen};
use super::scan::Seen;
use super::stages::Stages;
use super::status::PluginState;
use pgtq_sandbox::LoadError;
use pgtq_task::Digest;

/// The result of the first step, if the file was not rejected.
#[derive(Debug)]
pub(super) enum InspectOutcome {
    /// It may be loaded.
    Loadable(InspectedFile),
    /// The file serves these bytes already.
    Unchanged(Digest),
    /// A file that is missing now serves these bytes.
    RenamedFrom(String),
    /// An earlier process crashed while it loaded these bytes: no other step may run
    /// meanwhile.
    CrashSuspect,
    /// The file changed or disappeared while it was read.
    Changing,
}

/// Takes files through the two steps. Does not change what serves.
pub(super) struct Loader {
    dir: PathBuf,
    stages: Box<dyn Stages>,
    registry: Registry,
    journal: Arc<LoadJournal>,
}

impl Loader {
    pub(super) fn new(
        dir: &Path,
        stages: Box<dyn Stages>,
        registry: Registry,
        journal: Arc<LoadJournal>,
    ) -> Loader {
        Loader {
            dir: dir.to_owned(),
            stages,
            registry,
            journal,
        }
    }

    /// Reads a file and lists its handlers. `missing`: files that the last scan did not
    /// find. Cancel-safe: stops when dropped.
    pub(super) async fn inspect(
        self: Arc<Self>,
        request: LoadRequest,
        missing: Vec<String>,
    ) -> Result<InspectOutcome, PluginRejected> {
        let (file, alone) = (request.ready.file.as_str(), request.alone);
        let expected = match &request.ready.seen {
            Seen::File(stamp) => *stamp,
            Seen::NotAFile(what) => {
                return Err(PluginRejected::new(None, what.clone(), RetryWhen::Never));
            }
        };
        let Some(FileBytes {
            bytes,
            digest,
            stamp,
        }) = self.read(file).await?
        else {
            return Ok(InspectOutcome::Changing);
        };
        if !request.ready.unsettled && stamp != Some(expected) {
            return Ok(InspectOutcome::Changing);
        }

        if self.registry.serving(file) == Some(digest) {
            return Ok(InspectOutcome::Unchanged(digest));
        }
        let serves_it = |from: &&String| self.registry.serving(from) == Some(digest);
        if let Some(from) = missing.iter().find(serves_it) {
            return Ok(InspectOutcome::RenamedFrom(from.clone()));
        }
        let journal = Arc::clone(&self.journal);
        match blocking(move || journal.crashes(digest, expected.modified())).await? {
            0 => {}
            n if n >= MAX_CRASHES => return Err(self.rejected_after_crashes(file, digest, n)),
            _ if alone => {}
            _ => return Ok(InspectOutcome::CrashSuspect),
        }
        self.note(file, PluginState::Validating, digest);
        let (loader, name) = (Arc::clone(&self), file.to_owned());
        let names = blocking(move || {
            let note = loader.journal.begin(digest, &name);
            let names = loader.stages.inspect(&bytes);
            drop(note);
            names
        });
        let names = names.await?.map_err(|error| rejected(digest, &error))?;
        Ok(InspectOutcome::Loadable(InspectedFile { digest, names }))
    }

    /// Compiles, links and probes a file with these bytes. `None`: the file has other
    /// bytes now, or is gone. Cancel-safe: stops when dropped.
    pub(super) async fn load(
        self: Arc<Self>,
        ready: ReadyFile,
        digest: Digest,
    ) -> Result<Option<NewVersion>, PluginRejected> {
        let file = ready.file.as_str();
        // Waiting files are not kept in memory.
        let bytes = match self.read(file).await? {
            Some(read) if read.digest == digest => read.bytes,
            _ => return Ok(None),
        };
        self.note(file, PluginState::Compiling, digest);
        let (journal, name) = (Arc::clone(&self.journal), file.to_owned());
        let note = blocking(move || journal.begin(digest, &name)).await?;
        let probing = {
            let (loader, file) = (Arc::clone(&self), file.to_owned());
            Box::new(move || loader.note(&file, PluginState::Probing, digest))
        };
        let loaded = self
            .stages
            .load(plugin_name(file), bytes, digest, probing)
            .await;
        let (manifest, handlers) = loaded.map_err(|error| rejected(digest, &error))?;
        blocking(move || note.succeeded(digest)).await?;
        Ok(Some(NewVersion {
            digest: Some(digest),
            plugin: Some(manifest.plugin),
            handlers,
        }))
    }

    /// None: the file does not exist any more.
    async fn read(self: &Arc<Self>, file: &str) -> Result<Option<FileBytes>, PluginRejected> {
        let (path, limit) = (self.dir.join(file), self.stages.max_file_bytes());
        match blocking(move || read_file(&path, limit)).await? {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::Gone) => Ok(None),
            Err(error @ ReadError::Unfit(_)) => Err(PluginRejected::new(
                None,
                error.to_string(),
                RetryWhen::Never,
            )),
            Err(error @ ReadError::Io(_)) => Err(PluginRejected::new(
                None,
                error.to_string(),
                RetryWhen::Later,
            )),
        }
    }

    fn note(&self, file: &str, state: PluginState, digest: Digest) {
        self.registry.advance(file, state, digest);
    }

    fn rejected_after_crashes(
        &self,
        file: &str,
        digest: Digest,
        n_crashes: usize,
    ) -> PluginRejected {
        let path = self.dir.join(file);
        let reason = format!(
            "a runner process crashed {n_crashes} times while it loaded these bytes (sha256 {digest}), so they are not loaded again; to try once more: touch {}, or remove the notes on these bytes from the directory `loads` in the cache directory",
            path.display()
        );
        PluginRejected::new(Some(digest), reason, RetryWhen::Never)
    }
}

fn rejected(digest: Digest, error: &LoadError) -> PluginRejected {
    let retry = match error.may_pass_later() {
        true => RetryWhen::Later,
        false => RetryWhen::Never,
    };
    PluginRejected::new(Some(digest), error.to_string(), retry)
}

/// Runs `work` off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PluginRejected> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let reason = format!("internal error while loading: {error}");
        PluginRejected::new(None, reason, RetryWhen::Later)
    })
}
