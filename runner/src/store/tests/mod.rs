//! The store against a real Postgres.

mod bad_input;
mod lifecycle;
mod live;
mod migrations;
mod plans;
mod races;
mod sched;
mod sql_api;
