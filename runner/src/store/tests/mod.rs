//! The store against a real Postgres.

mod bad_input;
mod blame;
mod bytes;
mod carried;
mod edit;
mod lanes;
mod lifecycle;
mod live;
mod lookups;
mod many;
mod migrations;
mod pages;
mod plans;
mod pop;
mod popped;
mod prune;
mod prune_failing;
mod push_api;
mod races;
mod roles;
mod sched;
mod sessions;
mod shadow;
mod sql_api;
mod upgrade;
mod wake;
