//! One attempt with its phases timed, for `pgtq bench`. It treats a guest as
//! [`AttemptRun`](crate::run::attempt::AttemptRun) does, without supervision: for handlers
//! that are known to end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::attempt::state::StoreData;
use crate::attempt::store;
use crate::error::LoadError;
use crate::run::compiled::Compiled;
use pgtq_task::{Attempt, HandlerInfo, LimitRequest};

/// The durations of the phases of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Phases {
    /// Making a new store and instance.
    pub instantiate: Duration,
    /// The handler's call, arguments in and result out.
    pub call: Duration,
    /// Freeing everything.
    pub teardown: Duration,
}

impl Compiled {
    /// Runs `attempt` in the handler `info`. A trap of the guest is an error.
    pub async fn phases(&self, info: &HandlerInfo, attempt: Attempt) -> Result<Phases, LoadError> {
        let internal = |error: wasmtime::Error| LoadError::Internal(format!("{error:#}"));
        let limits = Arc::new(self.limits(&info.name, &info.limits, &LimitRequest::default()));
        let args = Arc::clone(&attempt.task);
        let started = Instant::now();
        let state = StoreData::new(Some(attempt), limits);
        let plugin = self.inner.plugin.here();
        let component = &plugin.component;
        let mut store = store::component_store(component.engine(), state).map_err(internal)?;
        let name = info.name.as_str();
        let (instantiated, returned) = if let Some(direct) = &plugin.direct {
            let instance = direct.instantiate(&mut store).await.map_err(internal)?;
            let instantiated = Instant::now();
            let returned = direct.call_run(&mut store, &instance, name, &args.args);
            (instantiated, returned.await)
        } else {
            let instance = component.instantiate_async(&mut store).await;
            let instance = instance.map_err(internal)?;
            let instantiated = Instant::now();
            let returned = instance.call_run(&mut store, name, &args.args).await;
            (instantiated, returned)
        };
        let called = Instant::now();
        let result = returned.map_err(internal)?;
        let mut state = store.into_data();
        state.close();
        drop(state);
        let phases = Phases {
            instantiate: instantiated - started,
            call: called - instantiated,
            teardown: called.elapsed(),
        };
        match result {
            Ok(_) => Ok(phases),
            Err(failure) => Err(LoadError::Internal(failure.message)),
        }
    }
}
