//! The state of one store: one attempt, or one probe.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::attempt::access::Access;
use crate::attempt::account::Account;
use crate::attempt::host_call::HostCall;
use crate::attempt::limiter::Limiter;
use crate::attempt::logs::{LockedLogs, Logs};
use crate::capability::http::Http;
use crate::capability::push::Pusher;
use crate::wasi::Wasi;
use pgtq_task::{Attempt, Database, Limits, Name, NewTask, NoDatabase};

/// WASI handles a guest may hold at a time.
const MAX_HANDLES: usize = 1_000;

/// Shared with the WASI streams, which live beside it in the store, and with the reader
/// of the log of a long-running attempt. Hardly ever contended: one guest, one thread at
/// a time, and one reader about once a second.
pub(crate) type SharedLogs = Arc<LockedLogs>;

/// The data of a store.
pub(crate) struct State {
    /// `None` while the plugin describes itself: there is no task then.
    pub(crate) attempt: Option<Attempt>,
    /// How many attempts the task gets in all; `None` is unlimited.
    pub(crate) max_attempts: Option<u32>,
    /// What the handler requests and is granted; `None` for one that requests nothing
    /// besides pushes, and while the plugin describes itself.
    pub(crate) access: Option<Box<Access>>,
    /// What the handler may push; `None` while the plugin describes itself.
    pub(crate) pusher: Option<Pusher>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) started: Instant,
    /// Fuel that was left when a host call last yielded to the scheduler.
    pub(crate) yielded_at: u64,
    /// The running host calls, the innermost last.
    pub(crate) host_calls: Vec<HostCall>,
    /// The machine's memory that the attempt takes.
    pub(crate) account: Arc<Account>,
    /// Set while the guest allocates memory for values from the host, or cleans up: it
    /// must not call the host then. The component model enforces this itself.
    pub(crate) must_not_call: bool,
    pub(crate) limiter: Limiter,
    pub(crate) logs: SharedLogs,
    pub(crate) children: Vec<NewTask>,
    /// Bytes of the arguments of `children`.
    pub(crate) children_bytes: usize,
    /// The lanes of the children: queue, handler and priority.
    pub(crate) child_lanes: HashSet<(Option<Name>, Name, i32)>,
    /// Number of calls so far that were denied for lack of a grant.
    pub(crate) denials: u32,
    /// Values saved so far.
    pub(crate) saves: u32,
    /// Bytes of the values saved so far.
    pub(crate) saved_bytes: u64,
    /// SQL statements so far.
    pub(crate) sql_statements: u32,
    table: ResourceTable,
    wasi: Option<Box<Wasi>>,
    /// Made when the guest first uses HTTP.
    http: Option<Box<Http>>,
}

impl State {
    pub(crate) fn new(attempt: Option<Attempt>, limits: Arc<Limits>) -> Self {
        let started = Instant::now();
        let account = Account::new(limits.host_bytes);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        State {
            attempt,
            max_attempts: None,
            access: None,
            pusher: None,
            yielded_at: limits.fuel,
            host_calls: Vec::new(),
            must_not_call: false,
            limiter: Limiter::new(&limits, &account),
            logs: Arc::new(LockedLogs::new(Logs::new(&limits, started, &account))),
            account,
            limits,
            started,
            children: Vec::new(),
            children_bytes: 0,
            child_lanes: HashSet::new(),
            denials: 0,
            saves: 0,
            saved_bytes: 0,
            sql_statements: 0,
            table,
            wasi: None,
            http: None,
        }
    }

    /// Allows the attempt what its handler requests and is granted, and redacts those
    /// secrets in its log.
    pub(crate) fn allow(&mut self, access: Option<Box<Access>>) {
        let redactor = access.as_ref().and_then(|access| access.redactor.clone());
        self.logs.lock().hide(redactor);
        self.access = access;
    }

    /// Continues a restarted attempt: keeps its clock and its shared log, whose lines are
    /// discarded.
    pub(crate) fn start_again(&mut self, logs: SharedLogs, started: Instant) {
        self.started = started;
        *logs.lock() = Logs::new(&self.limits, self.started, &self.account);
        self.logs = logs;
    }

    /// The attempt's access to the database, and its limits.
    pub(crate) fn database(&self) -> (Arc<dyn Database>, Arc<Limits>) {
        let database = match &self.attempt {
            Some(attempt) => Arc::clone(&attempt.database),
            None => Arc::new(NoDatabase) as Arc<dyn Database>,
        };
        (database, Arc::clone(&self.limits))
    }

    /// The attempt's WASI state, and its handles.
    pub(crate) fn wasi_parts(&mut self) -> (&mut Wasi, &mut ResourceTable) {
        let make = || Box::new(Wasi::new(&self.limits, &self.logs));
        (self.wasi.get_or_insert_with(make), &mut self.table)
    }

    /// The attempt's HTTP state, and its handles.
    pub(crate) fn http_parts(&mut self) -> (&mut Http, &mut ResourceTable) {
        let make = || {
            let access = self.access.as_deref();
            Http::new(
                access,
                &self.limits,
                self.started,
                &self.logs,
                &self.account,
            )
        };
        (self.http.get_or_insert_with(make), &mut self.table)
    }

    /// What the attempt may reach, and its WASI state.
    pub(crate) fn access_and_wasi(&mut self) -> (Option<&Access>, &mut Wasi) {
        let make = || Box::new(Wasi::new(&self.limits, &self.logs));
        let wasi = self.wasi.get_or_insert_with(make);
        (self.access.as_deref(), wasi)
    }

    /// Closes what the guest left open, so that an unterminated last line reaches the
    /// log.
    pub(crate) fn close(&mut self) {
        self.table = ResourceTable::new();
        self.wasi = None;
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (http, table) = self.http_parts();
        WasiHttpCtxView {
            hooks: &mut http.hooks,
            table,
            ctx: &mut http.context,
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (wasi, table) = self.wasi_parts();
        WasiCtxView {
            ctx: &mut wasi.ctx,
            table,
        }
    }
}
