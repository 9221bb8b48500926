//! The store's connections.

use super::{DatabaseConfig, StoreError};

/// A handle on the queue. Cheap to clone; connections are made when needed
/// and made again when lost.
#[derive(Clone, Debug)]
pub struct Store {}

impl Store {
    /// Reaches the database once, so that a wrong address is told at start.
    /// Does not look at the schema: see [`Store::check_schema`].
    pub async fn connect(_config: DatabaseConfig) -> Result<Store, StoreError> {
        todo!()
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &DatabaseConfig {
        todo!()
    }

    /// One round trip, for health checks.
    pub async fn ping(&self) -> Result<(), StoreError> {
        todo!()
    }
}
