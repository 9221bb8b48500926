//! The schema's migrations and their runner.
//!
//! Forward only, numbered, each in `migrations/` and in this program. All
//! pending ones run in one transaction under a lock, and what is
//! pending is asked again under the lock: any number of runners may start on
//! an empty database at once.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::connection::{Lease, Role};
use super::sql::sql;
use super::{Store, StoreError};

struct Migration {
    name: &'static str,
    text: &'static str,
}

macro_rules! migration {
    ($name:literal) => {
        Migration {
            name: $name,
            text: include_str!(concat!("../../../migrations/", $name, ".sql")),
        }
    };
}

/// In order; the version is the place, from 1, and the number of the file.
const MIGRATIONS: [Migration; 7] = [
    migration!("0001_tables"),
    migration!("0002_views"),
    migration!("0003_push"),
    migration!("0004_lifecycle"),
    migration!("0005_api"),
    migration!("0006_sql_of_handlers"),
    migration!("0007_live"),
];

/// The schema version this program is written for.
pub const SCHEMA_VERSION: i32 = MIGRATIONS.len() as i32;

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
        let mut lease = self.lease(Role::General, "look at the schema").await?;
        let found = applied(&mut lease).await?.last().map(|row| row.version);
        let schema = self.config().schema.to_string();
        let wanted = SCHEMA_VERSION;
        match found {
            None => Err(StoreError::SchemaMissing { schema }),
            Some(found) if found < wanted => Err(StoreError::SchemaOlder {
                schema,
                found,
                wanted,
            }),
            Some(found) if found > wanted => Err(StoreError::SchemaNewer {
                schema,
                found,
                wanted,
            }),
            Some(_) => Ok(()),
        }
    }

    /// All migrations known here or applied there.
    pub async fn migration_status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        let mut lease = self.lease(Role::General, "look at the schema").await?;
        let there = applied(&mut lease).await?;
        let here = (1..).zip(&MIGRATIONS).map(|(version, migration)| {
            let row = there.iter().find(|row| row.version == version);
            MigrationStatus {
                version,
                name: title(migration.name),
                applied_at: row.map(|row| row.applied_at),
                drifted: row.is_some_and(|row| row.sha256 != sha256(migration.text)),
            }
        });
        let newer = there
            .iter()
            .filter(|row| row.version > SCHEMA_VERSION)
            .map(|row| MigrationStatus {
                version: row.version,
                name: row.name.clone(),
                applied_at: Some(row.applied_at),
                drifted: false,
            });
        Ok(here.chain(newer).collect())
    }

    /// Applies what is pending, all in one transaction. Safe to call from many
    /// runners at once. Refuses a schema newer than this program.
    pub async fn migrate(&self) -> Result<Applied, StoreError> {
        // The usual case takes no lock.
        match self.check_schema().await {
            Ok(()) => {
                return Ok(Applied {
                    versions: Vec::new(),
                });
            }
            Err(StoreError::SchemaMissing { .. } | StoreError::SchemaOlder { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut lease = self.lease(Role::Bulk, "migrate the schema").await?;
        lease.begin().await?;
        let schema = &self.config().schema;
        lease
            .batch(&schema.render(include_str!("sql/migrate_begin.sql")))
            .await?;
        let from = applied(&mut lease)
            .await?
            .last()
            .map_or(0, |row| row.version);
        if from > SCHEMA_VERSION {
            return Err(StoreError::SchemaNewer {
                schema: schema.to_string(),
                found: from,
                wanted: SCHEMA_VERSION,
            });
        }
        let mut versions = Vec::new();
        for (version, migration) in pending(from) {
            lease
                .batch(&schema.render(&script(version, migration)))
                .await?;
            versions.push((version, title(migration.name)));
        }
        lease.commit().await?;
        Ok(Applied { versions })
    }

    /// The SQL that [`Store::migrate`] would run, for `--sql` and `--dry-run`;
    /// empty when nothing is pending.
    pub async fn pending_sql(&self) -> Result<String, StoreError> {
        let mut lease = self.lease(Role::General, "look at the schema").await?;
        let from = applied(&mut lease)
            .await?
            .last()
            .map_or(0, |row| row.version);
        let mut text = String::new();
        for (version, migration) in pending(from) {
            if text.is_empty() {
                text.push_str("BEGIN;\n");
                text.push_str(include_str!("sql/migrate_begin.sql"));
            }
            write!(text, "\n{}", script(version, migration))
                .expect("writing to a string cannot fail");
        }
        if !text.is_empty() {
            text.push_str("\nCOMMIT;\n");
        }
        Ok(self.config().schema.render(&text))
    }
}

struct AppliedRow {
    version: i32,
    name: String,
    sha256: String,
    applied_at: jiff::Timestamp,
}

/// What was applied, in order; nothing when there is no schema.
async fn applied(lease: &mut Lease<'_>) -> Result<Vec<AppliedRow>, StoreError> {
    let there = lease.query(sql!("migrate_there"), &[]).await?;
    if !there[0].get::<_, bool>("there") {
        return Ok(Vec::new());
    }
    let rows = lease.query(sql!("migrate_applied"), &[]).await?;
    Ok(rows
        .iter()
        .map(|row| AppliedRow {
            version: row.get("version"),
            name: row.get("name"),
            sha256: row.get("sha256"),
            applied_at: row.get("applied_at"),
        })
        .collect())
}

fn pending(from: i32) -> impl Iterator<Item = (i32, &'static Migration)> {
    (1..).zip(&MIGRATIONS).filter(move |(n, _)| *n > from)
}

/// One migration and its own entry in the list.
fn script(version: i32, migration: &Migration) -> String {
    format!(
        "-- Migration {version}: {}\n{}\nINSERT INTO {{{{schema}}}}.migrations (version, name, sha256) VALUES ({version}, '{}', '{}');\n",
        title(migration.name),
        migration.text,
        title(migration.name),
        sha256(migration.text),
    )
}

fn title(file: &str) -> String {
    file.split_once('_')
        .map_or(file, |(_, title)| title)
        .to_owned()
}

fn sha256(text: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    crate::task::Digest(hash).to_string()
}
