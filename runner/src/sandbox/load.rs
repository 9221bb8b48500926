//! From a file's bytes to handlers.

use std::sync::Arc;

use super::{Inspection, LoadError, SandboxConfig, SandboxError};
use crate::task::{Digest, Handler, Manifest};

/// The engine and all that plugins share. One per process; a clone is another
/// handle to the same.
#[derive(Clone)]
pub struct Sandbox {
    config: Arc<SandboxConfig>,
}

impl Sandbox {
    /// Sets up the engine and, with the pooling allocator, reserves address
    /// space for every slot.
    pub fn new(config: SandboxConfig) -> Result<Sandbox, SandboxError> {
        Ok(Sandbox {
            config: Arc::new(config),
        })
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &SandboxConfig {
        &self.config
    }

    /// Inspects, compiles (or takes from the cache) and links a plugin file.
    /// `digest` is the sha256 of `bytes`, and keys the cache. Needs a tokio
    /// runtime. Cancel-safe: dropping the future kills the compiling child.
    pub async fn compile(&self, bytes: Arc<[u8]>, digest: Digest) -> Result<Compiled, LoadError> {
        let _ = (bytes, digest);
        todo!()
    }

    /// Component instances alive now, if the allocator counts them.
    pub fn live_instances(&self) -> Option<u64> {
        None
    }
}

/// A compiled and linked plugin version. A clone is another handle to the same.
#[derive(Clone)]
pub struct Compiled {
    inner: Arc<Inner>,
}

struct Inner {
    digest: Digest,
    inspection: Inspection,
    from_cache: bool,
}

impl Compiled {
    /// The sha256 of the file.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// What the file says about itself.
    pub fn inspection(&self) -> &Inspection {
        &self.inner.inspection
    }

    /// Whether the code came from the cache, so that no child ran.
    pub fn from_cache(&self) -> bool {
        self.inner.from_cache
    }

    /// Asks the plugin for its manifest, under small limits (1 G fuel, 5 s, 32 MiB),
    /// and holds it against the file's own list.
    pub async fn probe(&self) -> Result<Manifest, LoadError> {
        todo!()
    }

    /// One handler for each in `manifest`. They keep this version's code alive.
    pub fn handlers(&self, manifest: &Manifest) -> Vec<Arc<dyn Handler>> {
        let _ = manifest;
        todo!()
    }
}
