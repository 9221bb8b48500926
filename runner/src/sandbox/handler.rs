//! A plugin's handler, as the engine sees it.

use std::sync::Arc;

use super::access::Access;
use super::attempt;
use super::direct::Detours;
use super::load::Compiled;
use super::push::{OwnHandlers, PushRights, Pusher};
use crate::task::{
    Attempt, Digest, ErrorKind, Failure, Grant, Handler, HandlerFuture, HandlerInfo, Limits,
    Outcome, Report, Stop,
};

/// One handler of one plugin version.
pub(super) struct PluginHandler {
    /// Keeps the code alive for as long as an attempt may run in it.
    compiled: Compiled,
    plugin: Arc<str>,
    info: Arc<HandlerInfo>,
    limits: Arc<Limits>,
    detours: Detours,
    pushes: Arc<PushRights>,
}

impl PluginHandler {
    pub(super) fn new(
        compiled: Compiled,
        plugin: Arc<str>,
        info: HandlerInfo,
        limits: Limits,
        own: OwnHandlers,
    ) -> Self {
        let info = Arc::new(info);
        let facts = Arc::clone(&compiled.inner.shared.config.push_facts);
        let pushes = PushRights::new(Arc::clone(&plugin), own, Arc::clone(&info), facts);
        PluginHandler {
            compiled,
            plugin,
            pushes: Arc::new(pushes),
            info,
            limits: Arc::new(limits),
            detours: Detours::default(),
        }
    }

    /// By the grants of this moment.
    fn rights(&self) -> attempt::Rights {
        let shared = &self.compiled.inner.shared;
        let book = shared.config.grants.load_full();
        attempt::Rights {
            access: Access::new(&self.plugin, &self.info, shared, Arc::clone(&book)),
            pusher: Pusher::new(Arc::clone(&self.pushes), book),
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
        let grants = &self.compiled.inner.shared.config.grants;
        grants.load().of(&self.plugin)
    }

    fn renamed(&self, plugin: &str) -> Option<Arc<dyn Handler>> {
        let plugin: Arc<str> = Arc::from(plugin);
        Some(Arc::new(PluginHandler {
            compiled: self.compiled.clone(),
            pushes: Arc::new(self.pushes.renamed(Arc::clone(&plugin))),
            plugin,
            info: Arc::clone(&self.info),
            limits: Arc::clone(&self.limits),
            detours: self.detours.clone(),
        }))
    }

    fn call(&self, attempt: Attempt) -> HandlerFuture {
        let compiled = self.compiled.clone();
        let info = Arc::clone(&self.info);
        let limits = Arc::clone(&self.limits);
        let detours = self.detours.clone();
        let rights = self.rights();
        Box::pin(async move {
            let inner = &compiled.inner;
            // The engine runs no more attempts than slots, so this waits only
            // if it is wrong about that; better than a pool that is empty.
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

fn stopped_early(stop: Stop) -> Report {
    Report::without_guest(attempt::stopped(stop))
}
