//! A plugin's handler, as the engine sees it.

use std::sync::Arc;

use crate::attempt::access::{Access, OwnHandlers, Requester, own_handlers};
use crate::attempt::granted::PluginGrants;
use crate::direct::fallback::Fallbacks;
use crate::run::attempt::AttemptRun;
use crate::run::compiled::Compiled;
use crate::run::outcome::stopped;
use pgtq_task::{
    Attempt, Digest, ErrorKind, Failure, Grant, Handler, HandlerFuture, HandlerInfo, LimitCut,
    LimitRequest, Limits, Manifest, Outcome, Report, StopReason,
};

/// One handler of one plugin version.
pub(crate) struct PluginHandler {
    /// Keeps the code alive while an attempt may run in it.
    compiled: Compiled,
    grants: Arc<PluginGrants>,
    info: Arc<HandlerInfo>,
    /// Valid as long as its plugin is granted no limits.
    limits: Arc<Limits>,
    fallbacks: Fallbacks,
    requester: Arc<Requester>,
}

impl PluginHandler {
    pub(crate) fn new(
        compiled: Compiled,
        grants: Arc<PluginGrants>,
        info: HandlerInfo,
        own: OwnHandlers,
    ) -> Self {
        let limits = compiled.limits(&info.name, &info.limits, &LimitRequest::default());
        let info = Arc::new(info);
        let plugin = Arc::clone(&grants.plugin);
        let services = Arc::clone(&compiled.inner.shared.services);
        let requester = Requester::new(plugin, Arc::clone(&info), own, services);
        PluginHandler {
            compiled,
            grants,
            requester: Arc::new(requester),
            info,
            limits: Arc::new(limits),
            fallbacks: Fallbacks::default(),
        }
    }
}

impl Handler for PluginHandler {
    fn info(&self) -> &HandlerInfo {
        &self.info
    }

    fn digest(&self) -> Option<Digest> {
        Some(self.compiled.digest())
    }

    fn grant(&self) -> Arc<Grant> {
        Arc::clone(&self.grants.now().grant)
    }

    fn cut(&self) -> LimitCut {
        let granted = self.grants.now();
        let config = &self.compiled.inner.shared.config;
        let over = config.overrides.get(&self.info.name).copied();
        let decided = over.unwrap_or_default();
        let limits = &self.info.limits;
        LimitCut::of(limits, &decided, &config.cap, &granted.grant.limits)
    }

    fn renamed(&self, plugin: &str) -> Option<Arc<dyn Handler>> {
        let plugin: Arc<str> = Arc::from(plugin);
        Some(Arc::new(PluginHandler {
            compiled: self.compiled.clone(),
            requester: Arc::new(self.requester.renamed(Arc::clone(&plugin))),
            grants: self.grants.renamed(&plugin),
            info: Arc::clone(&self.info),
            limits: Arc::clone(&self.limits),
            fallbacks: self.fallbacks.clone(),
        }))
    }

    fn call(&self, attempt: Attempt) -> HandlerFuture {
        let compiled = self.compiled.clone();
        let info = Arc::clone(&self.info);
        let granted = self.grants.now();
        let limits = match granted.grant.limits.is_empty() {
            true => Arc::clone(&self.limits),
            false => {
                let asked = &self.info.limits;
                Arc::new(compiled.limits(&info.name, asked, &granted.grant.limits))
            }
        };
        let fallbacks = self.fallbacks.clone();
        let access = Access::new(Arc::clone(&self.requester), granted);
        Box::pin(async move {
            let inner = &compiled.inner;
            // The engine runs no more attempts than slots, so this waits only if the
            // engine is wrong about that; waiting is better than an exhausted pool.
            let permit = tokio::select! {
                biased;
                permit = inner.shared.slots.acquire() => permit,
                stop = attempt.signal.stopped() => return stopped_early(stop),
            };
            let Ok(_permit) = permit else {
                let failure = Failure::new(ErrorKind::Internal, "the sandbox is closed");
                return Report::without_guest(Outcome::Retry {
                    failure,
                    after: None,
                });
            };
            let run = AttemptRun {
                plugin: inner.plugin.here(),
                digest: inner.digest,
                info: &info,
                limits,
                access,
                attempt,
            };
            run.finish(&fallbacks).await
        })
    }
}

fn stopped_early(stop: StopReason) -> Report {
    Report::without_guest(stopped(stop))
}

impl Compiled {
    /// One handler for each entry of `manifest`. They keep this version's code alive.
    /// `plugin` is the file's name in grants: without `.wasm`.
    pub fn handlers(&self, manifest: &Manifest, plugin: &str) -> Vec<Arc<dyn Handler>> {
        let handlers = manifest.handlers.iter().cloned();
        let own = own_handlers(&manifest.handlers);
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
}
