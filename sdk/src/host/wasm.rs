//! The host of a sandbox: each function is one call of the contract.

use serde_json::{Map, Value};

use crate::bindings::pgtq::plugin::{
    context, log as host_log, progress as host_progress, push as host_push,
};
use crate::log::Level;
use crate::push::Options;

/// The facts, asked for one by one: most handlers need none of them.
#[derive(Debug)]
pub(crate) struct Facts;

impl Facts {
    pub(crate) fn current() -> Self {
        Facts
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
