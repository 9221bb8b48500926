//! What belongs to one store: one attempt, or one probe.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::access::Access;
use super::limiter::Limiter;
use super::logs::Logs;
use super::stdio::Stdio;
use crate::task::{Attempt, Database, Limits, NewTask, NoDatabase};

/// WASI handles a guest may hold at a time.
const MAX_HANDLES: usize = 1_000;
/// Random bytes per call.
const MAX_RANDOM: u64 = 64 << 10;

/// Shared with the WASI streams, which live beside it in the store, and with
/// whoever reads the log of an attempt that runs long. Hardly ever contended:
/// one guest, one thread at a time, and one reader about once a second.
pub(super) type SharedLogs = Arc<Mutex<Logs>>;

/// Locks the logs. A panic while they were held leaves them usable.
pub(super) fn lock(logs: &Mutex<Logs>) -> MutexGuard<'_, Logs> {
    logs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The data of a store.
pub(super) struct State {
    /// `None` while the plugin describes itself: there is no task then.
    pub(super) attempt: Option<Attempt>,
    /// How many attempts the task gets in all; `None` has no end.
    pub(super) max_attempts: Option<u32>,
    /// What the handler asks for and is granted; `None` for one that asks for
    /// nothing, and while the plugin describes itself.
    pub(super) access: Option<Box<Access>>,
    pub(super) limits: Arc<Limits>,
    pub(super) started: Instant,
    /// Fuel that was left when a host call last yielded to the scheduler.
    pub(super) yielded_at: u64,
    pub(super) limiter: Limiter,
    pub(super) logs: SharedLogs,
    pub(super) children: Vec<NewTask>,
    /// Bytes of the arguments of `children`.
    pub(super) children_bytes: usize,
    /// SQL statements so far.
    pub(super) sql_statements: u32,
    table: ResourceTable,
    /// Made when the guest first asks for WASI: most never do, and it costs
    /// two random generators.
    wasi: Option<Box<WasiCtx>>,
}

impl State {
    pub(super) fn new(attempt: Option<Attempt>, limits: Arc<Limits>) -> Self {
        let started = Instant::now();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        State {
            attempt,
            max_attempts: None,
            access: None,
            yielded_at: limits.fuel,
            limiter: Limiter::new(&limits),
            logs: Arc::new(Mutex::new(Logs::new(&limits, started))),
            limits,
            started,
            children: Vec::new(),
            children_bytes: 0,
            sql_statements: 0,
            table,
            wasi: None,
        }
    }

    /// The attempt's way to the database, and its limits.
    pub(super) fn database(&self) -> (Arc<dyn Database>, Arc<Limits>) {
        let database = match &self.attempt {
            Some(attempt) => Arc::clone(&attempt.database),
            None => Arc::new(NoDatabase) as Arc<dyn Database>,
        };
        (database, Arc::clone(&self.limits))
    }

    /// Closes what the guest left open, so that a last line without an end
    /// reaches the log.
    pub(super) fn close(&mut self) {
        self.table = ResourceTable::new();
    }
}

/// Nothing inherited: no arguments, environment, stdin, files or network.
fn wasi(logs: &SharedLogs) -> Box<WasiCtx> {
    let mut builder = WasiCtx::builder();
    builder
        .stdout(Stdio::stdout(logs))
        .stderr(Stdio::stderr(logs))
        .max_random_size(MAX_RANDOM)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .allow_blocking_current_thread(false);
    Box::new(builder.build())
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| wasi(&self.logs)),
            table: &mut self.table,
        }
    }
}
