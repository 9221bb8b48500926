//! Reads, for operators and for decisions. Nothing here changes a task.

pub(crate) mod bench;
pub(crate) mod filter;
pub(crate) mod live_logs;
pub(crate) mod push_look;
pub(crate) mod stats;
pub(crate) mod task_reads;
pub(crate) mod task_row;
pub(crate) mod views;
pub(crate) mod waiting;
pub(crate) mod workers;
