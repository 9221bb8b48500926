//! pgtq: a task queue in Postgres whose handlers are WebAssembly plugins.
//!
//! Rooms, in reading order. ARCHITECTURE.md draws who may name whom.

pub mod task;

pub mod store;

pub mod sandbox;

pub mod plugin;

pub mod engine;

pub mod http;

pub mod setup;

pub mod config;

pub mod cli;
