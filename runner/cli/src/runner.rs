//! One runner in this process: sandbox, plugin directory, engine and HTTP server for
//! health and metrics, started in this order and stopped in reverse order.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use pgtq_engine::http;
use pgtq_engine::plugin::{PluginDirectory, Registry};
use pgtq_engine::{EngineConfig, EngineError, EngineStats, QueueSpec, Shutdown, Summary};
use pgtq_sandbox::{Sandbox, SandboxConfig};
use pgtq_store::{Retention, Store};

use super::context::Context;
use super::error::{Exit, Problem};
use super::machine;
use super::reload::{self, Follower};
use super::signals::Signals;

/// Time limit of a stop beyond the shutdown timeout, in which attempts react to the
/// interrupt and the runner stores their outcomes.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// When a runner starts to run tasks, and when it stops without a signal.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Until {
    /// Run the tasks of a plugin as soon as it is loaded, before other plugins are.
    pub(crate) eager: bool,
    /// Stop when no task is runnable.
    pub(crate) empty: bool,
    /// Stop after this many tasks.
    pub(crate) tasks: Option<u64>,
    /// Stop after this time without a task.
    pub(crate) idle: Option<Duration>,
}

/// A running runner.
pub(crate) struct Runner {
    pub(crate) registry: Registry,
    pub(crate) directory: PluginDirectory,
    pub(crate) shutdown: Shutdown,
    pub(crate) stats: Arc<EngineStats>,
    engine: AbortOnDropHandle<Result<Summary, EngineError>>,
    /// Time limit of a stop, after which it does not wait for handlers that do not yield.
    longest_stop: Duration,
    _pages: Option<AbortOnDropHandle<()>>,
    _grants: AbortOnDropHandle<()>,
}

impl Runner {
    /// Loads the plugins, starts to run tasks and returns. `eager` has no effect with
    /// `empty` or `idle`, because only a runner that has loaded all plugins can decide that
    /// no work is left. Cancel-safe until the last step, which starts to run tasks.
    pub(crate) async fn start(
        config: &Config,
        store: Store,
        until: Until,
    ) -> Result<Self, Problem> {
        let queues = queues(config);
        // Four more instances than slots, for probes of new plugins.
        let slots = queues.iter().map(|spec| spec.slots).sum::<u32>() + 4;
        let listener = match &config.run.listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let (book, missing) = machine::grants(config);
        for secret in &missing {
            tracing::warn!("{secret}");
        }
        tell_of_pooler(config, &store);
        let sandbox = Sandbox::new(SandboxConfig {
            grants: Arc::new(ArcSwap::from_pointee(book)),
            ..machine::settings(config, slots)?
        })?;
        let registry = Registry::new();
        let follow = reload::follow(Follower {
            config: Arc::new(config.clone()),
            started: Arc::new(config.clone()),
            pending: Vec::new(),
            missing,
            grants: Arc::clone(&sandbox.config().grants),
            registry: registry.clone(),
        });
        let directory = machine::plugins(config, &sandbox, &registry);
        if !until.eager || until.empty || until.idle.is_some() {
            directory.ready().await;
        }
        let shutdown = Shutdown::new();
        let stats = Arc::<EngineStats>::default();
        let pages = listener.map(|listener| {
            let monitored = http::Monitored {
                store: store.clone(),
                registry: registry.clone(),
                loaded: directory.readiness(),
                stats: Arc::clone(&stats),
                shutdown: shutdown.clone(),
            };
            // On the control thread, which handlers cannot block.
            AbortOnDropHandle::new(pgtq_engine::control().spawn(async move {
                if let Err(error) = http::serve(listener, monitored).await {
                    tracing::error!(%error, "the HTTP server for health and metrics stopped");
                }
            }))
        });
        let engine_config = EngineConfig {
            name: config.run.name.clone(),
            queues,
            poll_only: !store.config().can_listen(),
            drain: until.empty,
            max_tasks: until.tasks,
            idle_exit: until.idle,
            shutdown_timeout: config.run.shutdown_timeout,
            max_crashes: config.run.max_crashes,
            retention: Retention {
                history: config.retention,
                failed: config.retention_failed,
            },
            push_facts: Arc::clone(&sandbox.config().push_facts),
            ..EngineConfig::default()
        };
        let engine = AbortOnDropHandle::new(tokio::spawn(pgtq_engine::run_with_stats(
            store,
            registry.clone(),
            engine_config,
            shutdown.clone(),
            Arc::clone(&stats),
        )));
        Ok(Runner {
            registry,
            directory,
            shutdown,
            stats,
            engine,
            longest_stop: config.run.shutdown_timeout + STOP_GRACE,
            _pages: pages,
            _grants: AbortOnDropHandle::new(tokio::spawn(follow)),
        })
    }

    /// Waits until the runner stops. The first signal drains it, the second interrupts its
    /// attempts, the third ends the process. Status 130 after the second.
    pub(crate) async fn finish(
        mut self,
        context: &Context,
        signals: &mut Signals,
    ) -> Result<Summary, Problem> {
        let mut n_signals = 0;
        let ended = loop {
            tokio::select! {
                ended = &mut self.engine => break ended,
                name = signals.next() => {
                    n_signals += 1;
                    match n_signals {
                        1 => {
                            signals.give_up_after(self.longest_stop);
                            context.note(format!("{name}: finishing running tasks, claiming no more; repeat to stop immediately"));
                            self.shutdown.drain();
                        }
                        2 => {
                            context.note(format!("{name}: interrupting and releasing running tasks"));
                            self.shutdown.abort();
                        }
                        _ => return Err(Problem::new(Exit::Interrupted, "stopped; other runners take over its tasks when its lease expires")),
                    }
                }
            }
        };
        self.directory.stop().await;
        let summary =
            ended.map_err(|error| Problem::failed(format!("the engine stopped: {error}")))??;
        match n_signals {
            0 | 1 => Ok(summary),
            _ => Err(Problem::new(
                Exit::Interrupted,
                "stopped before the running tasks finished; they were released",
            )),
        }
    }

    /// Drains the runner, for a runner inside another verb.
    pub(crate) async fn stop(mut self) -> Result<Summary, Problem> {
        self.shutdown.drain();
        let ended = (&mut self.engine).await;
        self.directory.stop().await;
        Ok(ended.map_err(|error| Problem::failed(format!("the engine stopped: {error}")))??)
    }
}

/// Logs that the runner detected a connection pooler, and the consequence.
fn tell_of_pooler(config: &Config, store: &Store) {
    let database = store.config();
    if !database.poll_only || config.poll_only || database.pooler_is_known {
        return;
    }
    match database.can_listen() {
        true => tracing::info!(
            "the database URL points to a connection pooler; LISTEN uses database.listen_url, all other statements use the pooler"
        ),
        false => tracing::warn!(
            "the database URL points to a connection pooler, which does not support LISTEN, so new tasks are found by polling; set database.listen_url to the server itself to be notified immediately"
        ),
    }
}

fn queues(config: &Config) -> Vec<QueueSpec> {
    let common = config
        .run
        .concurrency
        .unwrap_or_else(pgtq_engine::default_slots);
    let specs = config.run.queues.iter();
    specs
        .map(|spec| QueueSpec {
            name: spec.queue.clone(),
            slots: spec.slots.unwrap_or(common),
        })
        .collect()
}

async fn listen(address: &str) -> Result<TcpListener, Problem> {
    // `7878` and `:7878` mean the loopback address: the HTTP server has no authentication.
    let full = match address.strip_prefix(':').unwrap_or(address) {
        port if port.bytes().all(|b| b.is_ascii_digit()) => format!("127.0.0.1:{port}"),
        _ => address.to_owned(),
    };
    TcpListener::bind(&full).await.map_err(|error| {
        Problem::failed(format!("cannot listen on {full}: {error}"))
            .help("choose another address with --listen, or omit the option")
    })
}
