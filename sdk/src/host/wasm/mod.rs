//! The host in the sandbox: each function is one call of the contract.

pub(crate) mod http;

use std::cell::RefCell;
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::bindings::pgtq::plugin::types::Problem;
use crate::bindings::pgtq::plugin::{
    context, log as host_log, progress as host_progress, push as host_push, secrets, sql, state,
};
use crate::error::{Error, Result};
use crate::host::types::Notes;
use crate::level::Level;
use crate::push_options::Options;
use crate::sql::rows::Rows;

/// The host. Each property is a separate call: most handlers need none of them.
#[derive(Debug, Clone)]
pub(crate) struct Host;

impl Host {
    pub(crate) fn current() -> Self {
        Host
    }

    pub(crate) fn id(&self) -> u64 {
        context::task_id()
    }

    pub(crate) fn attempt(&self) -> u32 {
        context::attempt()
    }

    pub(crate) fn max_attempts(&self) -> Option<u32> {
        context::max_attempts()
    }

    pub(crate) fn queue(&self) -> String {
        context::queue()
    }

    pub(crate) fn idempotency_key(&self) -> String {
        context::idempotency_key()
    }

    pub(crate) fn pushed_at_ms(&self) -> u64 {
        context::pushed_at_ms()
    }

    pub(crate) fn due_at_ms(&self) -> u64 {
        context::due_at_ms()
    }

    pub(crate) fn remaining_ms(&self) -> u64 {
        context::remaining_ms()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        context::is_cancelled()
    }

    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    pub(crate) fn sql(&self, statement: &str, params: &str) -> Result<Rows> {
        Rows::parse(&sql::run(statement, params).map_err(error)?)
    }

    pub(crate) fn checkpoint(&self, value: &str) -> Result<()> {
        sql::checkpoint(value).map_err(error)
    }

    pub(crate) fn load(&self, name: &str) -> Result<Option<String>> {
        state::load(name).map_err(error)
    }

    pub(crate) fn save(&self, name: &str, value: &str, with_sql: bool) -> Result<()> {
        state::save(name, value, with_sql).map_err(error)
    }

    pub(crate) fn secret(&self, name: &str) -> Result<String> {
        secrets::read(name).map_err(error)
    }

    /// Access to the attempt's notes. An instance runs one attempt only.
    pub(crate) fn with_notes<T>(&self, read: impl FnOnce(&mut Notes) -> T) -> T {
        thread_local! {
            static NOTES: RefCell<Notes> = const {
                RefCell::new(Notes { statements: 0, committed: 0, steps: Vec::new() })
            };
        }
        NOTES.with_borrow_mut(read)
    }
}

fn error(problem: Problem) -> Error {
    Error::from_host(problem.code, problem.message)
}

pub(crate) fn log(level: Level, message: &str, fields: Map<String, Value>) {
    let level = match level {
        Level::Debug => host_log::Level::Debug,
        Level::Info => host_log::Level::Info,
        Level::Warn => host_log::Level::Warn,
        Level::Error => host_log::Level::Error,
    };
    let fields = match fields.is_empty() {
        true => String::new(),
        false => Value::Object(fields).to_string(),
    };
    host_log::write(level, message, &fields);
}

pub(crate) fn progress(fraction: f64, message: &str) {
    host_progress::report(fraction, message);
}

pub(crate) fn push(handler: &str, payload: &str, options: &Options) -> Result<(), String> {
    let options = match *options == Options::default() {
        true => String::new(),
        false => serde_json::to_string(options).map_err(|error| error.to_string())?,
    };
    host_push::push(handler, payload, &options)
}
