//! The verbs, one file each: options and implementation.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod call;
pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod delete;
pub(crate) mod demo;
pub(crate) mod deploy;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod inspect;
pub(crate) mod logs;
pub(crate) mod migrate;
pub(crate) mod new;
pub(crate) mod pause;
pub(crate) mod plugins;
pub(crate) mod prune;
pub(crate) mod push;
pub(crate) mod queues;
pub(crate) mod retry;
pub(crate) mod roles;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod runners;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod tasks;
pub(crate) mod test;
pub(crate) mod version;

mod bulk;
