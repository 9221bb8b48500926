//! The other loops of an engine: its lease, upkeep of the queue, and what it publishes.

pub(crate) mod heartbeat;
pub(crate) mod maintenance;
pub(crate) mod published_handlers;
pub(crate) mod push_facts;
pub(crate) mod reported_progress;
pub(crate) mod schema_check;
pub(crate) mod streamer;
