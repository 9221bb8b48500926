//! From compiled code to finished attempts: links it, makes handlers of it, and runs each
//! attempt in its own instance.

pub(crate) mod attempt;
mod backtrace;
pub(crate) mod compiled;
mod copies;
mod failure;
mod handler;
mod limit_text;
mod linker;
mod outcome;
pub(crate) mod phases;
mod probe;
mod report;
pub(crate) mod sandbox;
mod supervise;
mod units;
