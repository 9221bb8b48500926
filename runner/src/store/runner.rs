//! A runner's life in the database: register, publish handlers, sleep, retire.

use super::{Store, StoreError};
use crate::task::{Digest, HandlerInfo, RunnerId};

/// What a runner says about itself once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerFacts {
    /// A name for people; need not be unique.
    pub name: String,
    /// The machine's name.
    pub host: String,
    /// The process id there.
    pub pid: u32,
    /// The version of pgtq.
    pub version: String,
    /// How many attempts run at once, over all queues.
    pub slots: u32,
    /// The queues it serves, as written in its configuration.
    pub queues: Vec<String>,
}

/// A handler that a runner has loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedHandler {
    /// What the plugin said about it.
    pub info: HandlerInfo,
    /// The file's digest.
    pub digest: Digest,
    /// The file's name, without its folder.
    pub file: String,
    /// The plugin's name and version.
    pub plugin: String,
}

impl Store {
    /// Enters a runner with a lease of [`Store::LEASE`].
    pub async fn register(&self, _facts: &RunnerFacts) -> Result<RunnerId, StoreError> {
        todo!()
    }

    /// Says whether the runner sleeps, so that a push notifies. After
    /// `sleeping(.., true)` look for work once more before sleeping.
    pub async fn sleeping(&self, _runner: RunnerId, _asleep: bool) -> Result<(), StoreError> {
        todo!()
    }

    /// Replaces the list of handlers that the runner has loaded.
    pub async fn publish_handlers(
        &self,
        _runner: RunnerId,
        _handlers: &[PublishedHandler],
    ) -> Result<(), StoreError> {
        todo!()
    }

    /// Leaves: gives back unburnt what is still claimed, removes the runner.
    /// Returns how many tasks went back.
    pub async fn retire(&self, _runner: RunnerId) -> Result<u64, StoreError> {
        todo!()
    }
}
