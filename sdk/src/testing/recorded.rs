//! What a test records of a handler.

use std::time::Duration;

use pgtq_contract::Retries;
use serde_json::Value;

use crate::level::Level;

/// A task that a handler pushed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// The handler that runs the task.
    pub handler: String,
    /// The arguments.
    pub payload: Value,
    /// The queue: set by the push or declared by the handler.
    pub queue: Option<String>,
    /// The priority: set by the push or declared by the handler.
    pub priority: Option<i32>,
    /// The delay, if one was set.
    pub delay: Option<Duration>,
    /// The retry limit, if one was set.
    pub retries: Option<Retries>,
    /// The idempotency key, if one was set.
    pub key: Option<String>,
}

/// A line that a handler logged.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// The severity.
    pub level: Level,
    /// The message.
    pub message: String,
    /// The structured fields, an object.
    pub fields: Value,
}
