//! A plugin's handler, as the engine sees it.

use std::sync::Arc;

use crate::attempt::access::Access;
use crate::attempt::granted::{Granted, PluginGrants};
use crate::capability::push::{OwnHandlers, PushRights, Pusher};
use crate::direct::Detours;
use crate::run::attempt;
use crate::run::load::Compiled;
use pgtq_task::{
    Attempt, Digest, ErrorKind, Failure, Grant, Handler, HandlerFuture, HandlerInfo, LimitCut,
    LimitRequest, Limits, Outcome, Report, StopReason,
};

/// One handler of one plugin version.
pub(crate) struct PluginHandler {
    /// Keeps the code alive while an attempt may run in it.
    compiled: Compiled,
    grants: Arc<PluginGrants>,
    info: Arc<HandlerInfo>,
    /// Valid as long as its plugin is granted no limits.
    limits: Arc<Limits>,
    detours: Detours,
    pushes: Arc<PushRights>,
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
        let facts = Arc::clone(&compiled.inner.shared.config.push_facts);
        let plugin = Arc::clone(&grants.plugin);
        let pushes = PushRights::new(plugin, own, Arc::clone(&info), facts);
        PluginHandler {
            compiled,
            grants,
            pushes: Arc::new(pushes),
            info,
            limits: Arc::new(limits),
            detours: Detours::default(),
        }
    }

    /// By the current grants.
    fn rights(&self, granted: &Granted) -> attempt::Rights {
        let shared = &self.compiled.inner.shared;
        attempt::Rights {
            access: Access::new(&self.grants.plugin, &self.info, granted, shared),
            pusher: Pusher::new(Arc::clone(&self.pushes), Arc::clone(&granted.book)),
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
        limits.cut(&decided, &config.cap, &granted.grant.limits)
    }

    fn renamed(&self, plugin: &str) -> Option<Arc<dyn Handler>> {
        let plugin: Arc<str> = Arc::from(plugin);
        Some(Arc::new(PluginHandler {
            compiled: self.compiled.clone(),
            pushes: Arc::new(self.pushes.renamed(Arc::clone(&plugin))),
            grants: self.grants.renamed(&plugin),
            info: Arc::clone(&self.info),
            limits: Arc::clone(&self.limits),
            detours: self.detours.clone(),
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
        let detours = self.detours.clone();
        let rights = self.rights(&granted);
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
            attempt::run(
                inner.plugin.here(),
                &detours,
                inner.digest,
                &info,
                limits,
                rights,
                attempt,
            )
            .await
        })
    }
}

fn stopped_early(stop: StopReason) -> Report {
    Report::without_guest(attempt::stopped(stop))
}
