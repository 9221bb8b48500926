//! The steps that the sandbox takes with a file.

use std::pin::Pin;
use std::sync::Arc;

use pgtq_sandbox::{LoadError, Sandbox, inspect};
use pgtq_task::{Digest, Handler, Manifest, Name};

/// The result of [`Stages::load`].
pub(super) type LoadFuture =
    Pin<Box<dyn Future<Output = Result<(Manifest, Vec<Arc<dyn Handler>>), LoadError>> + Send>>;

/// What the sandbox does for a file. A trait only so that tests can make a compiler fail
/// on demand.
pub(super) trait Stages: Send + Sync + 'static {
    /// The largest accepted file, in bytes.
    fn max_file_bytes(&self) -> u64;
    /// The handler names in the file; executes nothing.
    fn inspect(&self, bytes: &[u8]) -> Result<Vec<Name>, LoadError>;
    /// Compiles, calls `probing`, probes. `plugin` is the file's name without its
    /// extension. Stops when dropped.
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
        // A linker emits them in any order; the text for operators must not depend on it.
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
            let manifest = compiled.probe_as(&plugin).await?;
            let handlers = compiled.handlers(&manifest, &plugin);
            Ok((manifest, handlers))
        })
    }
}
