//! Asks a plugin what handlers it has.

use std::sync::Arc;
use std::time::Duration;

use crate::attempt::host_call::timed;
use crate::attempt::state::StoreData;
use crate::attempt::store;
use crate::compile::inspect;
use crate::error::LoadError;
use crate::json;
use crate::run::compiled::Compiled;
use crate::run::failure::{self, TrapContext};
use crate::run::limit_text;
use crate::run::supervise::catch_panic;
use pgtq_task::{LimitRequest, Limits, Manifest};

/// Limits of `describe`. Small, because it is the first code of a new file that runs; its
/// memory limit is that of its handlers, because the same statics are loaded.
const PROBE_FUEL: u64 = 1_000_000_000;
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

impl Compiled {
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
        let state = StoreData::new(None, Arc::clone(&limits));
        let internal = |error: wasmtime::Error| LoadError::Internal(format!("{error:#}"));
        let plugin = self.inner.plugin.first();
        let mut store = store::component_store(plugin.engine(), state).map_err(internal)?;
        let call = async {
            let plugin = plugin.instantiate_async(&mut store).await?;
            plugin.call_describe(&mut store).await
        };
        let call = timed(&limits, call);
        let ended = catch_panic(tokio::time::timeout(timeout, call)).await;
        let mut state = store::dismantle(store).await;
        match ended {
            Ok(Ok(Ok(text))) => Ok(text),
            Ok(Ok(Err(error))) => {
                state.close();
                let context = TrapContext {
                    limits: &limits,
                    limiter: &state.limiter,
                    account: &state.account,
                    logs: &state.logs.lock(),
                };
                let failure = failure::explain(&error, &context);
                Err(LoadError::Probe(failure.message))
            }
            Ok(Err(_elapsed)) => Err(LoadError::Probe(limit_text::timeout(&limits).message)),
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
}
