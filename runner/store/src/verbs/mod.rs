//! Verbs that change the queue: one file for each, or for a part of one.

pub(crate) mod batch;
pub(crate) mod beat;
pub(crate) mod claim;
pub(crate) mod finish;
pub(crate) mod finish_many;
pub(crate) mod lanes;
pub(crate) mod listen;
pub(crate) mod maintain;
pub(crate) mod migrate;
pub(crate) mod migrate_outside;
pub(crate) mod migrations;
pub(crate) mod operate;
pub(crate) mod outcome_record;
pub(crate) mod push;
pub(crate) mod rescue;
pub(crate) mod roles;
pub(crate) mod runner;
pub(crate) mod sweep;
pub(crate) mod take;
