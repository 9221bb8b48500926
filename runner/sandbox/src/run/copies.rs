//! One engine per thread, and copies of busy plugins' code, so that threads share
//! neither.
//!
//! Wasmtime's pool reuses what was freed last, whichever thread asks: two threads keep
//! swapping the memories, tables and stacks of their guests, and each finds the lines it
//! needs in the other's cache. On two cores an attempt then took 25 µs, and 17 µs in two
//! processes. So each thread has its own engine and pool, and a plugin
//! that is busy in a thread gets a copy of its code there. A plugin that is not busy
//! costs only its first copy.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::attempt::state::StoreData;
use crate::bindings::PluginPre;
use crate::config::SandboxConfig;
use crate::direct::module::Direct;
use crate::engine;
use crate::error::LoadError;
use crate::error::SandboxError;
use crate::run::linker::linker;

/// Maximum number of engines, whatever the number of processors: each reserves address
/// space for all slots. Further threads share them.
const MAX_ENGINES: usize = 8;
/// Attempts in a thread before its copy is made: a rarely busy plugin needs none.
const COPY_THRESHOLD: u32 = 500;
/// Bytes of all copies of a plugin's code. Large plugins have fewer copies.
const MAX_BYTES: usize = 32 << 20;

/// An engine and the functions that plugins may call in it.
struct EngineSlot {
    engine: Engine,
    linker: Linker<StoreData>,
    /// Linking takes an instance, and the pool has room for one more than run.
    linking: Mutex<()>,
}

/// A plugin's code in one engine, and its entry points.
pub(crate) struct Linked {
    pub(crate) component: PluginPre<StoreData>,
    /// The direct entry point, which most plugins have.
    pub(crate) direct: Option<Direct>,
}

impl EngineSlot {
    fn new(config: &SandboxConfig) -> Result<EngineSlot, SandboxError> {
        let engine = engine::running(config)?;
        let linker = linker(&engine).map_err(|error| SandboxError::Engine {
            reason: format!("{error:#}"),
        })?;
        Ok(EngineSlot {
            engine,
            linker,
            linking: Mutex::new(()),
        })
    }

    /// # Safety
    ///
    /// `code` must come from our own compiler, see [`Component::deserialize`].
    unsafe fn link(&self, code: &[u8]) -> Result<Linked, LoadError> {
        // The compiler accepted the file: a failure here is not the file's fault.
        let internal = |error: wasmtime::Error| LoadError::Internal(format!("{error:#}"));
        // SAFETY: the caller's promise.
        let component = unsafe { Component::deserialize(&self.engine, code) }.map_err(internal)?;
        // Now rather than during the first task.
        component
            .initialize_copy_on_write_image()
            .map_err(internal)?;
        let pre = self.linker.instantiate_pre(&component);
        let component = pre
            .and_then(PluginPre::new)
            .map_err(|error| LoadError::WrongType(format!("{error:#}")))?;
        let one_at_a_time = self.linking.lock().unwrap_or_else(PoisonError::into_inner);
        let direct = Direct::link(component.instance_pre());
        drop(one_at_a_time);
        Ok(Linked { component, direct })
    }
}

/// The engines of one process.
pub(crate) struct Engines {
    config: SandboxConfig,
    first: EngineSlot,
    /// Made when a thread first needs one; `None` if that failed.
    more: Vec<OnceLock<Option<EngineSlot>>>,
}

impl Engines {
    pub(crate) fn new(config: SandboxConfig) -> Result<Engines, SandboxError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let more = threads.min(MAX_ENGINES) - 1;
        Ok(Engines {
            first: EngineSlot::new(&config)?,
            more: (0..more).map(|_| OnceLock::new()).collect(),
            config,
        })
    }

    /// The engine that every plugin is loaded into.
    pub(crate) fn first(&self) -> &Engine {
        &self.first.engine
    }

    /// Number of live component instances, if the allocator counts them.
    pub(crate) fn live_instances(&self) -> Option<u64> {
        let more = self.more.iter().filter_map(|slot| slot.get()?.as_ref());
        std::iter::once(&self.first)
            .chain(more)
            .map(|slot| {
                Some(
                    slot.engine
                        .pooling_allocator_metrics()?
                        .component_instances(),
                )
            })
            .sum()
    }

    fn nth(&self, n: usize) -> Option<&EngineSlot> {
        let made = self.more[n].get_or_init(|| {
            let slot = EngineSlot::new(&self.config);
            slot.inspect_err(
                |error| tracing::debug!(%error, "cannot make another engine; threads share one"),
            )
            .ok()
        });
        made.as_ref()
    }
}

/// A plugin version's code, one copy for each thread that is busy with it.
pub(crate) struct Copies {
    engines: Arc<Engines>,
    first: Linked,
    more: Vec<Twin>,
}

#[derive(Default)]
struct Twin {
    /// Attempts that ran without a copy of their own.
    n_missed: AtomicU32,
    plugin: OnceLock<Linked>,
}

impl Copies {
    /// Makes runnable code from the bytes of the compiler or the cache.
    ///
    /// # Safety
    ///
    /// `code` must come from our own compiler, see [`Component::deserialize`].
    pub(crate) unsafe fn link(engines: &Arc<Engines>, code: &[u8]) -> Result<Copies, LoadError> {
        // SAFETY: the caller's promise.
        let first = unsafe { engines.first.link(code) }?;
        let n_more = (MAX_BYTES / code.len().max(1)).saturating_sub(1);
        let n_more = n_more.min(engines.more.len());
        Ok(Copies {
            engines: Arc::clone(engines),
            first,
            more: (0..n_more).map(|_| Twin::default()).collect(),
        })
    }

    /// The first copy, for rare operations.
    pub(crate) fn first(&self) -> &PluginPre<StoreData> {
        &self.first.component
    }

    /// This thread's copy, or the first one until it has its own. Needs a tokio runtime.
    pub(crate) fn here(self: &Arc<Self>) -> &Linked {
        let Some(n) = (place() % (self.more.len() + 1)).checked_sub(1) else {
            return &self.first;
        };
        let copy = &self.more[n];
        copy.plugin.get().unwrap_or_else(|| {
            if copy.n_missed.fetch_add(1, Relaxed) % COPY_THRESHOLD == COPY_THRESHOLD - 1 {
                let copies = Arc::clone(self);
                tokio::task::spawn_blocking(move || copies.make(n));
            }
            &self.first
        })
    }

    /// Number of existing copies besides the first.
    #[cfg(test)]
    pub(crate) fn n_made(&self) -> usize {
        let made = self.more.iter().filter(|copy| copy.plugin.get().is_some());
        made.count()
    }

    /// Maximum number of copies besides the first.
    #[cfg(test)]
    pub(crate) fn n_possible(&self) -> usize {
        self.more.len()
    }

    fn make(&self, n: usize) {
        let Some(slot) = self.engines.nth(n) else {
            return;
        };
        let made = self.first.component.instance_pre().component().serialize();
        let made = made
            .map_err(|error| LoadError::Internal(format!("{error:#}")))
            // SAFETY: it is the code of a component that is already loaded.
            .and_then(|code| unsafe { slot.link(&code) });
        match made {
            // A copy that another thread made meanwhile serves as well.
            Ok(plugin) => drop(self.more[n].plugin.set(plugin)),
            Err(error) => tracing::debug!(%error, "cannot copy a plugin's code; threads share one"),
        }
    }
}

/// This thread's number, in the order in which threads first asked.
fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    PLACE.with(|place| {
        place.get().unwrap_or_else(|| {
            let new = NEXT.fetch_add(1, Relaxed);
            place.set(Some(new));
            new
        })
    })
}
