//! The sandbox of a process: from a file's bytes to a compiled plugin.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::capability;
use crate::compile::cache::Cache;
use crate::compile::inspect::{self, Inspection};
use crate::compile::parent;
use crate::config::SandboxConfig;
use crate::engine;
use crate::error::{LoadError, SandboxError};
use crate::net::network::Net;
use crate::run::compiled::{Compiled, CompiledInner, SandboxShared};
use crate::run::copies::{Copies, Engines};
use pgtq_task::Digest;

/// Concurrent compilations. Callers decide the order of the files.
pub const COMPILERS: usize = 3;

/// The engine and everything that plugins share. One per process; a clone is another
/// handle to it.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<SandboxShared>,
}

impl Sandbox {
    /// Sets up the engine and, with the pooling allocator, reserves address space for
    /// every slot.
    pub fn new(config: SandboxConfig) -> Result<Sandbox, SandboxError> {
        Sandbox::with_net(config, &Net::system())
    }

    /// The same with a given network access.
    pub(crate) fn with_net(config: SandboxConfig, net: &Arc<Net>) -> Result<Sandbox, SandboxError> {
        let engines = Engines::new(config.clone())?;
        let cache = config
            .cache_dir
            .as_deref()
            .and_then(|dir| Cache::open(dir, config.cache_bytes, engines.first()));
        Ok(Sandbox {
            shared: Arc::new(SandboxShared {
                cache,
                compiling: Semaphore::new(COMPILERS),
                probing: Semaphore::new(engine::PROBES as usize),
                slots: Semaphore::new(config.slots as usize),
                services: capability::services(&config, net),
                config,
                engines: Arc::new(engines),
            }),
        })
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &SandboxConfig {
        &self.shared.config
    }

    /// Inspects, compiles (or takes from the cache) and links a plugin file. `digest` is
    /// the sha256 of `bytes`, and the key of the cache. Needs a tokio runtime.
    /// Cancel-safe: dropping the future kills the compiling child.
    pub async fn compile(&self, bytes: Arc<[u8]>, digest: Digest) -> Result<Compiled, LoadError> {
        let limit = self.shared.config.max_file_bytes;
        if bytes.len() as u64 > limit {
            return Err(LoadError::TooLarge {
                bytes: bytes.len() as u64,
                limit,
            });
        }
        let shared = Arc::clone(&self.shared);
        let file = Arc::clone(&bytes);
        let (inspection, cached) = blocking(move || {
            if digest != Digest::of(&file) {
                return Err(LoadError::Internal("digest of other bytes".to_owned()));
            }
            let inspection = inspect::inspect(&file)?;
            let cached = shared.cache.as_ref().and_then(|cache| cache.get(digest));
            Ok((inspection, cached))
        })
        .await?;
        if let Some(code) = cached {
            match self.link(code, digest, inspection.clone(), true).await {
                Err(LoadError::Internal(reason)) => {
                    tracing::warn!(
                        digest = digest.short(),
                        reason,
                        "cached code cannot be loaded, compiling again"
                    );
                }
                done => return done,
            }
        }
        let code = {
            let closed = |_| LoadError::Internal("the compiler is closed".to_owned());
            let _permit = self.shared.compiling.acquire().await.map_err(closed)?;
            Arc::new(parent::compile(&self.shared.config, bytes).await?)
        };
        let compiled = self
            .link(Arc::clone(&code), digest, inspection, false)
            .await?;
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            if let Some(cache) = &shared.cache {
                cache.put(digest, &code);
            }
            Ok(())
        })
        .await?;
        Ok(compiled)
    }

    /// Makes runnable code from the bytes of the compiler or the cache.
    async fn link(
        &self,
        code: Arc<Vec<u8>>,
        digest: Digest,
        inspection: Inspection,
        from_cache: bool,
    ) -> Result<Compiled, LoadError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            // SAFETY: `code` was made by our own compiler, in this process or
            // in its child, or carries the MAC of the cache's private key.
            let plugin = unsafe { Copies::link(&shared.engines, &code) }?;
            Ok(Compiled {
                inner: Arc::new(CompiledInner {
                    shared,
                    plugin: Arc::new(plugin),
                    digest,
                    inspection,
                    from_cache,
                }),
            })
        })
        .await
    }

    /// Number of live component instances, if the allocator counts them.
    pub fn live_instances(&self) -> Option<u64> {
        self.shared.engines.live_instances()
    }
}

/// Runs blocking work outside of the scheduler. A panic in it becomes an error.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(LoadError::Internal(error.to_string())),
    }
}
