//! The host of a native test: a recorder, current on the thread that created it.

pub(crate) mod fakes;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::host::types::Notes;
use crate::level::Level;
use crate::push_options::Options;
use crate::testing::needs::info;
use crate::testing::record::Record;
use crate::testing::recorded::{Logged, Pushed};

/// The record of one test, shared by its contexts.
pub(crate) type Shared = Rc<RefCell<Record>>;

thread_local! {
    /// The running tests of this thread, newest last.
    static CURRENT: RefCell<Vec<Shared>> = const { RefCell::new(Vec::new()) };
}

/// Makes a record the thread's current record.
pub(crate) fn enter(record: &Shared) {
    CURRENT.with_borrow_mut(|stack| stack.push(Rc::clone(record)));
}

/// Removes a record. It may be anywhere in the stack: contexts may be dropped in
/// any order.
pub(crate) fn leave(record: &Shared) {
    CURRENT.with_borrow_mut(|stack| stack.retain(|other| !Rc::ptr_eq(other, record)));
}

fn current() -> Option<Shared> {
    CURRENT.with_borrow(|stack| stack.last().cloned())
}

/// The host: the record of one test.
#[derive(Debug, Clone)]
pub(crate) struct Host(Shared);

impl Host {
    pub(crate) fn current() -> Self {
        Host(current().unwrap_or_default())
    }

    pub(crate) fn of(record: &Shared) -> Self {
        Host(Rc::clone(record))
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.borrow().id
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.0.borrow().attempt
    }

    pub(crate) fn max_attempts(&self) -> Option<u32> {
        self.0.borrow().max_attempts
    }

    pub(crate) fn queue(&self) -> String {
        self.0.borrow().queue.clone()
    }

    pub(crate) fn idempotency_key(&self) -> String {
        self.0.borrow().idempotency_key.clone()
    }

    pub(crate) fn pushed_at_ms(&self) -> u64 {
        self.0.borrow().pushed_at_ms
    }

    pub(crate) fn due_at_ms(&self) -> u64 {
        self.0.borrow().due_at_ms
    }

    pub(crate) fn remaining_ms(&self) -> u64 {
        self.0.borrow().remaining_ms
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.borrow().cancelled
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.0.borrow().clock
    }

    pub(crate) fn with_notes<T>(&self, read: impl FnOnce(&mut Notes) -> T) -> T {
        read(&mut self.0.borrow_mut().notes)
    }
}

pub(crate) fn log(level: Level, message: &str, fields: Map<String, Value>) {
    let Some(record) = current() else {
        // A handler called as an ordinary function prints its log lines.
        eprintln!("{level:?}: {message} {}", Value::Object(fields));
        return;
    };
    record.borrow_mut().logs.push(Logged {
        level,
        message: message.to_owned(),
        fields: Value::Object(fields),
    });
}

pub(crate) fn progress(fraction: f64, message: &str) {
    if let Some(record) = current() {
        let report = (fraction, message.to_owned());
        record.borrow_mut().progress.push(report);
    }
}

pub(crate) fn push(handler: &str, payload: &str, options: &Options) -> Result<(), String> {
    let record = current()
        .ok_or("only a running handler can push; in a test, create a `Ctx::test()` first")?;
    let payload = serde_json::from_str(payload).map_err(|error| error.to_string())?;
    let mut record = record.borrow_mut();
    let own = info(handler).map(|info| info.push);
    let defaults = own.clone().unwrap_or_default();
    let declared = defaults.queue.as_ref().map(ToString::to_string);
    let queue = options.queue.clone().or(declared);
    let wanted = queue.as_deref().unwrap_or("default");
    let priority = options.priority.unwrap_or(defaults.priority);
    let is_declared = own.is_some_and(|own| own.queue() == wanted && priority >= own.priority);
    let mut rule = handler.to_owned();
    if wanted != defaults.queue() {
        rule.push_str(&format!(" queue={wanted}"));
    }
    if priority < defaults.priority.max(0) {
        rule.push_str(&format!(" priority={priority}"));
    }
    record
        .demand(
            &format!("push {rule}"),
            &format!("push = \"{rule}\""),
            |needs| {
                is_declared || {
                    let mut rules = needs.push.iter();
                    rules.any(|rule| rule.allows(handler, wanted, priority, &defaults))
                }
            },
        )
        .map_err(|error| error.to_string())?;
    record.pushed.push(Pushed {
        handler: handler.to_owned(),
        payload,
        queue,
        priority: options.priority.or((priority != 0).then_some(priority)),
        delay: options.delay_ms.map(Duration::from_millis),
        retries: options.retries,
        key: options.key.clone(),
    });
    Ok(())
}
