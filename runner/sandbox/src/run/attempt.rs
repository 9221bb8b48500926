//! One attempt: a new store and instance, one call, a report.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::Store;

use crate::attempt::access::Access;
use crate::attempt::logs::SharedLogs;
use crate::attempt::state::StoreData;
use crate::attempt::store::{component_store, dismantle, store};
use crate::direct::fallback::{Fallback, Fallbacks};
use crate::direct::module::Direct;
use crate::run::copies::Linked;
use crate::run::outcome::retry;
use crate::run::report::report;
use crate::run::supervise::{CallEnd, supervised};
use pgtq_task::{
    Attempt, Digest, ErrorKind, Failure, HandlerInfo, Limits, Outcome, Report, Retries,
};

/// An attempt that is to run, and what belongs to it.
pub(crate) struct AttemptRun<'a> {
    pub(crate) plugin: &'a Linked,
    pub(crate) digest: Digest,
    pub(crate) info: &'a HandlerInfo,
    pub(crate) limits: Arc<Limits>,
    /// What it may do besides computing.
    pub(crate) access: Access,
    pub(crate) attempt: Attempt,
}

/// The remaining budget of an attempt that started in the main module and needed the
/// component. Both starts share one budget of fuel and time.
struct Remaining {
    logs: SharedLogs,
    started: Instant,
    fuel: u64,
}

/// The entry point of an attempt into the plugin.
#[derive(Clone, Copy)]
enum EntryPoint<'a> {
    /// Through the component: the full contract.
    Component,
    /// Directly into the main module.
    MainModule(&'a Direct),
}

impl AttemptRun<'_> {
    /// Runs the attempt to its end, whatever the guest does.
    pub(crate) async fn finish(self, fallbacks: &Fallbacks) -> Report {
        let mut earlier = None;
        // Capabilities are linked in the component only.
        if let Some(direct) = &self.plugin.direct
            && self.access.is_for_pushes_only()
            && fallbacks.may_go_direct()
        {
            match self.once(EntryPoint::MainModule(direct), None).await {
                Ok(report) => return report,
                Err((fallback, remaining)) => {
                    earlier = Some(remaining);
                    tracing::debug!(handler = %self.info.name, %fallback, "an attempt is restarted");
                    fallbacks.note();
                }
            }
        }
        let is_second = earlier.is_some();
        match self.once(EntryPoint::Component, earlier).await {
            // The first start used up the missing fuel or time; the next attempt goes
            // straight to the component, so this one is not counted.
            Ok(mut report) if is_second && ran_out(&report.outcome) => {
                report.outcome = Outcome::Release;
                report.record.children.clear();
                report
            }
            Ok(report) => report,
            Err((fallback, _)) => internal(fallback.to_string()),
        }
    }

    /// One start in its own store. An error means that the attempt must be started again,
    /// through the component, with what is left of this start's budget; it has had no
    /// effect.
    async fn once(
        &self,
        entry: EntryPoint<'_>,
        earlier: Option<Remaining>,
    ) -> Result<Report, (Fallback, Remaining)> {
        let mut store = match self.store(entry, earlier) {
            Ok(store) => store,
            Err(error) => return Ok(internal(format!("set up a store: {error:#}"))),
        };
        let args = &self.attempt.task.args;
        let handler = self.info.name.as_str();
        let ended = match entry {
            EntryPoint::Component => {
                let call = async |store: &mut Store<StoreData>| {
                    let component = &self.plugin.component;
                    let instance = component.instantiate_async(&mut *store).await?;
                    instance.call_run(store, handler, args).await
                };
                supervised(&mut store, &self.attempt, call).await
            }
            EntryPoint::MainModule(direct) => {
                let call = async |store: &mut Store<StoreData>| {
                    let instance = direct.instantiate(store).await?;
                    direct.call_run(store, &instance, handler, args).await
                };
                supervised(&mut store, &self.attempt, call).await
            }
        };
        if let CallEnd::Trapped(error) = &ended
            && let Some(fallback) = error.downcast_ref::<Fallback>()
        {
            let remaining = Remaining {
                logs: SharedLogs::clone(&store.data().logs),
                started: store.data().started,
                fuel: store.get_fuel().unwrap_or(0),
            };
            dismantle(store).await;
            return Err((*fallback, remaining));
        }
        Ok(report(store, ended, &self.limits, self.digest).await)
    }

    /// The store for one start.
    fn store(
        &self,
        entry: EntryPoint<'_>,
        earlier: Option<Remaining>,
    ) -> wasmtime::Result<Store<StoreData>> {
        let mut state = StoreData::new(Some(self.attempt.clone()), Arc::clone(&self.limits));
        let fuel = earlier.as_ref().map(|remaining| remaining.fuel);
        match earlier {
            Some(remaining) => state.start_again(remaining.logs, remaining.started),
            None => {
                let logs = SharedLogs::clone(&state.logs);
                self.attempt.signal.share_log(logs as _);
            }
        }
        state.allow(self.access.clone());
        let retries = self.attempt.task.retries;
        state.max_attempts = match retries.unwrap_or(self.info.retry.retries) {
            Retries::Limited(n) => Some(n.saturating_add(1)),
            Retries::Forever => None,
        };
        let engine = self.plugin.component.engine();
        let mut store = match entry {
            EntryPoint::Component => component_store(engine, state),
            EntryPoint::MainModule(_) => store(engine, state),
        }?;
        if let Some(left) = fuel {
            store.set_fuel(left)?;
        }
        Ok(store)
    }
}

/// The report of an attempt that failed for a fault of the runner.
fn internal(message: String) -> Report {
    let failure = Failure::new(ErrorKind::Internal, message);
    Report::without_guest(retry(failure))
}

/// Whether an attempt ended because its fuel or its time was used up.
fn ran_out(outcome: &Outcome) -> bool {
    let Outcome::Retry { failure, .. } = outcome else {
        return false;
    };
    matches!(failure.kind, ErrorKind::Fuel | ErrorKind::Timeout)
}
