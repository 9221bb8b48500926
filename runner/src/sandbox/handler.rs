//! A plugin's handler, as the engine sees it.

use std::sync::Arc;

use super::access::Access;
use super::attempt;
use super::direct::Detours;
use super::load::Compiled;
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
}

impl PluginHandler {
    pub(super) fn new(
        compiled: Compiled,
        plugin: Arc<str>,
        info: HandlerInfo,
        limits: Limits,
    ) -> Self {
        PluginHandler {
            compiled,
            plugin,
            info: Arc::new(info),
            limits: Arc::new(limits),
            detours: Detours::default(),
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
        Some(Arc::new(PluginHandler {
            compiled: self.compiled.clone(),
            plugin: Arc::from(plugin),
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
        let access = Access::new(&self.plugin, &self.info, &self.compiled.inner.shared);
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
                access,
                attempt,
            )
            .await
        })
    }
}

fn stopped_early(stop: Stop) -> Report {
    Report::without_guest(attempt::stopped(stop))
}
