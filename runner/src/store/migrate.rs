//! The schema's migrations and their runner.

use super::{Store, StoreError};

/// The schema version this program is written for.
pub const SCHEMA_VERSION: i32 = 1;

/// One migration, as it stands in this database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// 1, 2, 3 ...
    pub version: i32,
    /// The file's name without number and ending.
    pub name: String,
    /// When it was applied; `None` means pending.
    pub applied_at: Option<jiff::Timestamp>,
    /// The text applied differs from the one in this program.
    pub drifted: bool,
}

/// What [`Store::migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The migrations applied now, in order; empty when there was nothing to do.
    pub versions: Vec<(i32, String)>,
}

impl Store {
    /// Ok if the schema is exactly the one this program is written for.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// All known migrations, applied or not.
    pub async fn migration_status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        todo!()
    }

    /// Applies what is pending, all in one transaction. Safe to call from many
    /// runners at once. Refuses a schema newer than this program.
    pub async fn migrate(&self) -> Result<Applied, StoreError> {
        todo!()
    }

    /// The SQL that [`Store::migrate`] would run, for `--sql` and `--dry-run`;
    /// empty when nothing is pending.
    pub async fn pending_sql(&self) -> Result<String, StoreError> {
        todo!()
    }
}
