//! One runner of this process: sandbox, plugin directory, engine and the
//! pages for machines, started in that order and stopped in the other.

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

/// How long an ordinary stop may take beyond the shutdown timeout: attempts notice that
/// they were interrupted, and the last outcomes are stored.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// When a runner starts to run tasks, and when it ends by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Until {
    /// Tasks run as soon as their own plugin is loaded, whatever the others still need.
    pub(crate) eager: bool,
    /// Nothing is runnable here any more.
    pub(crate) empty: bool,
    /// So many tasks have ended here.
    pub(crate) tasks: Option<u64>,
    /// So long without a task.
    pub(crate) idle: Option<Duration>,
}

/// A runner under way.
pub(crate) struct Runner {
    pub(crate) registry: Registry,
    pub(crate) directory: PluginDirectory,
    pub(crate) shutdown: Shutdown,
    pub(crate) stats: Arc<EngineStats>,
    engine: AbortOnDropHandle<Result<Summary, EngineError>>,
    /// After this long a stop does not wait for handlers that do not yield.
    longest_stop: Duration,
    _pages: Option<AbortOnDropHandle<()>>,
    _grants: AbortOnDropHandle<()>,
}

impl Runner {
    /// Loads the plugins and starts to run tasks; returns when it has. Who asks
    /// whether anything is left to do has to know all plugins first, so only without
    /// `empty` and `idle` can it be `eager`. Not cancel-safe once it runs tasks, which
    /// it does not before its last step.
    pub(crate) async fn start(
        config: &Config,
        store: Store,
        until: Until,
    ) -> Result<Self, Problem> {
        let queues = queues(config);
        // A few instances more than slots, for the probes of new plugins.
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
            // Where no handler can hold them up.
            AbortOnDropHandle::new(pgtq_engine::control().spawn(async move {
                if let Err(error) = http::serve(listener, monitored).await {
                    tracing::error!(%error, "the health and metrics pages are gone");
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

    /// Waits for the end. The first signal drains, the second aborts, the
    /// third ends the process. Status 130 if it was aborted.
    pub(crate) async fn finish(
        mut self,
        context: &Context,
        signals: &mut Signals,
    ) -> Result<Summary, Problem> {
        let mut asked = 0;
        let ended = loop {
            tokio::select! {
                ended = &mut self.engine => break ended,
                name = signals.next() => {
                    asked += 1;
                    match asked {
                        1 => {
                            signals.give_up_after(self.longest_stop);
                            context.note(format!("{name}: finishing what runs, claiming nothing more; again to stop at once"));
                            self.shutdown.drain();
                        }
                        2 => {
                            context.note(format!("{name}: giving back what runs"));
                            self.shutdown.abort();
                        }
                        _ => return Err(Problem::new(Exit::Interrupted, "stopped; other runners take the tasks over when the lease ends")),
                    }
                }
            }
        };
        self.directory.stop().await;
        let summary =
            ended.map_err(|error| Problem::failed(format!("the engine ended: {error}")))??;
        match asked {
            0 | 1 => Ok(summary),
            _ => Err(Problem::new(
                Exit::Interrupted,
                "stopped before the running tasks had ended; they were given back",
            )),
        }
    }

    /// Drains without a signal, for a runner inside another verb.
    pub(crate) async fn stop(mut self) -> Result<Summary, Problem> {
        self.shutdown.drain();
        let ended = (&mut self.engine).await;
        self.directory.stop().await;
        Ok(ended.map_err(|error| Problem::failed(format!("the engine ended: {error}")))??)
    }
}

/// Says what a pooler that was found, and not named, means for this runner.
fn tell_of_pooler(config: &Config, store: &Store) {
    let database = store.config();
    if !database.poll_only || config.poll_only || database.pooler_is_known {
        return;
    }
    match database.can_listen() {
        true => tracing::info!(
            "a connection pooler answers at the database's address: listening at database.listen_url, all else goes through the pooler"
        ),
        false => tracing::warn!(
            "a connection pooler answers at the database's address: no LISTEN through it, so new tasks are found by polling; give a direct address as database.listen_url to hear of them at once"
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
    // `7878` and `:7878` mean this machine only: the pages ask for no password.
    let full = match address.strip_prefix(':').unwrap_or(address) {
        port if port.bytes().all(|b| b.is_ascii_digit()) => format!("127.0.0.1:{port}"),
        _ => address.to_owned(),
    };
    TcpListener::bind(&full).await.map_err(|error| {
        Problem::failed(format!("cannot listen on {full}: {error}"))
            .help("choose another address with --listen, or leave it out")
    })
}
