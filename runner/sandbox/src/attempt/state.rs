//! The data of one store: of one attempt, or of one probe.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::ResourceTable;

use crate::attempt::access::Access;
use crate::attempt::account::MemoryAccount;
use crate::attempt::contexts::Contexts;
use crate::attempt::limiter::Limiter;
use crate::attempt::logs::{LockedLogs, Logs, SharedLogs};
use pgtq_task::{Attempt, Limits};

/// WASI handles a guest may hold at a time.
const MAX_HANDLES: usize = 1_000;

/// What a capability keeps for one attempt. Made when its guest first uses it, so that an
/// attempt pays only for the capabilities that it uses.
pub(crate) trait CapabilityContext: Any + Send {
    fn new(state: &StoreData) -> Self;
}

/// A running host call: when it began, and the fuel that was left then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostCall {
    pub(crate) at: Instant,
    pub(crate) fuel: u64,
}

/// The data of a store.
pub(crate) struct StoreData {
    /// `None` while the plugin describes itself: there is no task then.
    pub(crate) attempt: Option<Attempt>,
    /// How many attempts the task gets in all; `None` is unlimited.
    pub(crate) max_attempts: Option<u32>,
    access: Option<Access>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) started: Instant,
    /// Fuel that was left when a host call last yielded to the scheduler.
    pub(crate) yielded_at: u64,
    /// The running host calls, the innermost last.
    pub(crate) host_calls: Vec<HostCall>,
    /// The machine's memory that the attempt takes.
    pub(crate) account: Arc<MemoryAccount>,
    /// Set while the guest allocates memory for values from the host, or cleans up: it
    /// must not call the host then. The component model enforces this itself.
    pub(crate) must_not_call: bool,
    pub(crate) limiter: Limiter,
    pub(crate) logs: SharedLogs,
    /// Number of calls so far that were denied for lack of a grant.
    pub(crate) denials: u32,
    table: ResourceTable,
    contexts: Contexts,
}

impl StoreData {
    pub(crate) fn new(attempt: Option<Attempt>, limits: Arc<Limits>) -> Self {
        let started = Instant::now();
        let account = MemoryAccount::new(limits.host_bytes);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        StoreData {
            attempt,
            max_attempts: None,
            access: None,
            yielded_at: limits.fuel,
            host_calls: Vec::new(),
            must_not_call: false,
            limiter: Limiter::new(&limits, &account),
            logs: Arc::new(LockedLogs::new(Logs::new(&limits, started, &account))),
            account,
            limits,
            started,
            denials: 0,
            table,
            contexts: Contexts::default(),
        }
    }

    /// Allows the attempt what its handler requests and is granted, and redacts those
    /// secrets in its log.
    pub(crate) fn allow(&mut self, access: Access) {
        let redactor = match access.is_for_pushes_only() {
            true => None,
            false => access.redactor(),
        };
        self.logs.lock().hide(redactor);
        self.access = Some(access);
    }

    /// Continues a restarted attempt: keeps its clock and its shared log, whose lines are
    /// discarded.
    pub(crate) fn start_again(&mut self, logs: SharedLogs, started: Instant) {
        self.started = started;
        *logs.lock() = Logs::new(&self.limits, self.started, &self.account);
        self.logs = logs;
    }

    /// What the handler requests and is granted; `None` for one that requests nothing
    /// besides pushes, and while the plugin describes itself.
    pub(crate) fn access(&self) -> Option<&Access> {
        self.access.as_ref().filter(|a| !a.is_for_pushes_only())
    }

    /// The same for a handler that requests nothing besides pushes, too.
    pub(crate) fn push_access(&self) -> Option<&Access> {
        self.access.as_ref()
    }

    /// The handles of the guest.
    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// A capability's own context.
    pub(crate) fn context<T: CapabilityContext>(&mut self) -> &mut T {
        self.context_and_table().0
    }

    /// A capability's own context, and the handles of the guest.
    pub(crate) fn context_and_table<T: CapabilityContext>(
        &mut self,
    ) -> (&mut T, &mut ResourceTable) {
        if !self.contexts.has::<T>() {
            let made = T::new(self);
            self.contexts.add(made);
        }
        let context = self.contexts.get_mut();
        (context.expect("it was just added"), &mut self.table)
    }

    /// A capability's own context, if the guest has used the capability.
    pub(crate) fn used_context<T: CapabilityContext>(&mut self) -> Option<&mut T> {
        self.contexts.get_mut()
    }

    /// Closes what the guest left open, so that an unterminated last line reaches the
    /// log.
    pub(crate) fn close(&mut self) {
        self.table = ResourceTable::new();
        self.contexts = Contexts::default();
    }
}
