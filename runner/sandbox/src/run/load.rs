//! From a file's bytes to handlers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::attempt::granted::PluginGrants;
use crate::attempt::host_call::timed;
use crate::attempt::state::State;
use crate::capability::push;
use crate::compile::cache::Cache;
use crate::compile::compiler;
use crate::compile::inspect::{self, Inspection};
use crate::config::SandboxConfig;
use crate::engine;
use crate::error::LoadError;
use crate::error::SandboxError;
use crate::json;
use crate::net::Net;
use crate::run::attempt;
use crate::run::copies::{Copies, Engines};
use crate::run::failure::{self, Scene};
use crate::run::handler::PluginHandler;
use pgtq_task::{Digest, Handler, LimitRequest, Limits, Manifest, Name};

/// Limits of `describe`. Small, because it is the first code of a new file that runs; its
/// memory limit is that of its handlers, because the same statics are loaded.
const PROBE_FUEL: u64 = 1_000_000_000;
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Concurrent compilations. Callers decide the order of the files.
pub const COMPILERS: usize = 3;

/// The engine and everything that plugins share. One per process; a clone is another
/// handle to it.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: SandboxConfig,
    engines: Arc<Engines>,
    cache: Option<Cache>,
    /// Each compilation uses every core and up to its memory limit.
    compiling: Semaphore,
    probing: Semaphore,
    /// Never more instances than the pool was sized for.
    pub(crate) slots: Semaphore,
    /// The network access of all attempts.
    pub(crate) net: Arc<Net>,
}

impl Sandbox {
    /// Sets up the engine and, with the pooling allocator, reserves address space for
    /// every slot.
    pub fn new(config: SandboxConfig) -> Result<Sandbox, SandboxError> {
        Sandbox::with_net(config, Net::system())
    }

    /// The same with a given network access.
    pub(crate) fn with_net(config: SandboxConfig, net: Arc<Net>) -> Result<Sandbox, SandboxError> {
        let engines = Engines::new(config.clone())?;
        let cache = config
            .cache_dir
            .as_deref()
            .and_then(|dir| Cache::open(dir, config.cache_bytes, engines.first()));
        Ok(Sandbox {
            shared: Arc::new(Shared {
                cache,
                compiling: Semaphore::new(COMPILERS),
                probing: Semaphore::new(engine::PROBES as usize),
                slots: Semaphore::new(config.slots as usize),
                net,
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
            Arc::new(compiler::compile(&self.shared.config, bytes).await?)
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
                inner: Arc::new(Inner {
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

/// A compiled and linked plugin version. A clone is another handle to the same.
#[derive(Clone)]
pub struct Compiled {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plugin: Arc<Copies>,
    pub(crate) digest: Digest,
    inspection: Inspection,
    from_cache: bool,
}

impl Compiled {
    /// The sha256 of the file.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// What the file declares about itself.
    pub fn inspection(&self) -> &Inspection {
        &self.inner.inspection
    }

    /// Whether the code came from the cache, so that no child ran.
    pub fn from_cache(&self) -> bool {
        self.inner.from_cache
    }

    /// Asks the plugin for its manifest, under small limits (1 G fuel, 5 s, the memory of
    /// its largest handler), and compares it with the file's own list.
    pub async fn probe(&self) -> Result<Manifest, LoadError> {
        self.probe_within(PROBE_TIMEOUT).await
    }

    /// [`Compiled::probe`] under the limits that are granted to a plugin of this name.
    pub async fn probe_as(&self, plugin: &str) -> Result<Manifest, LoadError> {
        self.probe_under(PROBE_TIMEOUT, plugin).await
    }

    /// [`Compiled::probe`] with another time limit: tests of the other limits pass one
    /// that is never reached first, however busy the machine is.
    pub(crate) async fn probe_within(&self, timeout: Duration) -> Result<Manifest, LoadError> {
        self.probe_under(timeout, "").await
    }

    async fn probe_under(&self, timeout: Duration, plugin: &str) -> Result<Manifest, LoadError> {
        let closed = |_| LoadError::Internal("the sandbox is closed".to_owned());
        let _permit = self.inner.shared.probing.acquire().await.map_err(closed)?;
        let grant = self.inner.shared.config.grants.load().of(plugin);
        let text = self.describe(timeout, &grant.limits).await?;
        json::few_values(json::n_values(text.as_bytes()))?;
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| inspect::bad_manifest(&error))?;
        inspect::check_contract(&manifest.contract)?;
        inspect::check_handlers(&manifest.handlers)?;
        inspect::check_same(&manifest.handlers, &self.inner.inspection.handlers)?;
        Ok(manifest)
    }

    async fn describe(
        &self,
        timeout: Duration,
        granted: &LimitRequest,
    ) -> Result<String, LoadError> {
        let limits = Arc::new(self.probe_limits(timeout, granted));
        let state = State::new(None, Arc::clone(&limits));
        let internal = |error: wasmtime::Error| LoadError::Internal(format!("{error:#}"));
        let plugin = self.inner.plugin.first();
        let mut store = attempt::component_store(plugin.engine(), state).map_err(internal)?;
        let call = async {
            let plugin = plugin.instantiate_async(&mut store).await?;
            plugin.call_describe(&mut store).await
        };
        let call = timed(&limits, call);
        let ended = attempt::caught(tokio::time::timeout(timeout, call)).await;
        let mut state = attempt::dismantle(store).await;
        match ended {
            Ok(Ok(Ok(text))) => Ok(text),
            Ok(Ok(Err(error))) => {
                state.close();
                let scene = Scene {
                    limits: &limits,
                    limiter: &state.limiter,
                    account: &state.account,
                    logs: &state.logs.lock(),
                };
                let failure = failure::explain(&error, &scene);
                Err(LoadError::Probe(failure.message))
            }
            Ok(Err(_elapsed)) => Err(LoadError::Probe(failure::timeout(&limits).message)),
            Err(failure) => Err(LoadError::Internal(failure.message)),
        }
    }

    fn probe_limits(&self, timeout: Duration, granted: &LimitRequest) -> Limits {
        let config = &self.inner.shared.config;
        let handlers = &self.inner.inspection.handlers;
        let memory = handlers
            .iter()
            .map(|info| self.limits(&info.name, &info.limits, granted).memory)
            .max();
        Limits {
            fuel: PROBE_FUEL,
            timeout,
            memory: memory.unwrap_or(config.defaults.memory),
            ..config.defaults.clone()
        }
    }

    /// One handler for each entry of `manifest`. They keep this version's code alive.
    /// `plugin` is the file's name in grants: without `.wasm`.
    pub fn handlers(&self, manifest: &Manifest, plugin: &str) -> Vec<Arc<dyn Handler>> {
        let handlers = manifest.handlers.iter().cloned();
        let own = push::own_handlers(&manifest.handlers);
        let grants = PluginGrants::new(plugin, &self.inner.shared.config.grants);
        handlers
            .map(|info| -> Arc<dyn Handler> {
                Arc::new(PluginHandler::new(
                    self.clone(),
                    Arc::clone(&grants),
                    info,
                    Arc::clone(&own),
                ))
            })
            .collect()
    }

    /// The limits of a handler: what it requests, up to what is granted to its plugin or
    /// else to any. The operator's settings for the handler itself override all of it.
    pub(crate) fn limits(
        &self,
        name: &Name,
        asked: &LimitRequest,
        granted: &LimitRequest,
    ) -> Limits {
        let config = &self.inner.shared.config;
        let over = config.overrides.get(name).copied().unwrap_or_default();
        let cap = config.cap.with(granted);
        let limits = config.defaults.granted(asked, &cap).with(&over);
        Limits {
            memory: limits.memory.min(engine::MAX_MEMORY),
            ..limits
        }
    }
}
