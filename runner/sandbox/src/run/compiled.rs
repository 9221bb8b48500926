//! A plugin version that is ready to run, and what all plugins of a process share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::attempt::services::Services;
use crate::compile::cache::Cache;
use crate::compile::inspect::Inspection;
use crate::config::SandboxConfig;
use crate::engine;
use crate::run::copies::{Copies, Engines};
use pgtq_task::{Digest, LimitRequest, Limits, Name};

/// What all plugins of one sandbox share.
pub(crate) struct SandboxShared {
    pub(crate) config: SandboxConfig,
    pub(super) engines: Arc<Engines>,
    pub(super) cache: Option<Cache>,
    /// Each compilation uses every core and up to its memory limit.
    pub(super) compiling: Semaphore,
    pub(super) probing: Semaphore,
    /// Never more instances than the pool was sized for.
    pub(crate) slots: Semaphore,
    /// What capabilities share between all attempts.
    pub(crate) services: Arc<Services>,
}

/// A compiled and linked plugin version. A clone is another handle to the same.
#[derive(Clone)]
pub struct Compiled {
    pub(crate) inner: Arc<CompiledInner>,
}

pub(crate) struct CompiledInner {
    pub(crate) shared: Arc<SandboxShared>,
    pub(crate) plugin: Arc<Copies>,
    pub(crate) digest: Digest,
    pub(super) inspection: Inspection,
    pub(super) from_cache: bool,
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
