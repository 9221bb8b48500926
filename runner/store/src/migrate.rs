//! The schema's migrations and their runner.
//!
//! Forward only, numbered, each in `migrations/` and in this program. All
//! pending ones run in one transaction under a lock (those of `migrate_outside` split
//! it), and what is pending is asked again under the lock: any number of runners may
//! start on an empty database at once. None of it waits long for a table: whoever pushes
//! would wait behind it, so it gives way and tries again.
//!
//! Each version says which older programs it still serves, so that the schema
//! goes first and runners of the version before work on.

use std::fmt::Write as _;
use std::time::Duration;

use super::connection::Role;
use super::migrate_outside::{is_outside, statements};
use super::session::Lease;
use super::sql::sql;
use super::{Store, StoreError};

#[derive(Clone, Copy)]
pub(super) struct Migration {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    /// The oldest version of the schema whose programs go on working on this one.
    pub(super) serves: i32,
}

macro_rules! migration {
    ($name:literal, serves: $serves:literal) => {
        Migration {
            serves: $serves,
            name: $name,
            text: include_str!(concat!("../../../migrations/", $name, ".sql")),
        }
    };
}

/// In order; the version is the place, from 1, and the number of the file. One
/// that takes away or changes what the program before needs serves itself only;
/// add first, and take away when nobody of the version before is left.
pub(super) const MIGRATIONS: [Migration; 10] = [
    migration!("0001_tables", serves: 1),
    migration!("0002_views", serves: 2),
    migration!("0003_push", serves: 3),
    migration!("0004_operate", serves: 4),
    migration!("0005_edit", serves: 5),
    migration!("0006_worker", serves: 6),
    migration!("0007_runner", serves: 7),
    migration!("0008_retention", serves: 8),
    migration!("0009_handler_sql", serves: 9),
    migration!("0010_roles", serves: 9),
];

/// Pause between two tries for a lock that somebody holds.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a lock is tried for: each time for half a second.
const TRIES: u32 = 100;

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The migrations applied now, in order; empty when there was nothing to do.
    pub versions: Vec<(i32, String)>,
}

impl Store {
    /// Ok if the schema is the one this program is written for, or a newer one
    /// that serves it.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let mut lease = self.lease(Role::General, "look at the schema").await?;
        let schema = self.config().schema.to_string();
        serves(&applied(&mut lease).await?, schema, SCHEMA_VERSION)
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
    /// runners at once, and while others push and run tasks. Refuses a schema
    /// that is too new for this program.
    pub async fn migrate(&self) -> Result<Applied, StoreError> {
        self.migrate_to(&MIGRATIONS).await
    }

    /// As [`Store::migrate`], with another list: tests stop early or go on.
    pub(super) async fn migrate_to(&self, list: &[Migration]) -> Result<Applied, StoreError> {
        for n_tries in 1.. {
            match self.migrate_once(list).await {
                Err(StoreError::Locked { .. }) if n_tries < TRIES => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
        unreachable!("the last try returned")
    }

    async fn migrate_once(&self, list: &[Migration]) -> Result<Applied, StoreError> {
        let schema = self.config().schema.to_string();
        let wanted = version_of(list);
        let mut versions = Vec::new();
        loop {
            // The usual case takes no lock.
            let mut lease = self.lease(Role::General, "look at the schema").await?;
            let there = applied(&mut lease).await?;
            drop(lease);
            match serves(&there, schema.clone(), wanted) {
                Ok(()) => return Ok(Applied { versions }),
                Err(StoreError::SchemaMissing { .. } | StoreError::SchemaOlder { .. }) => {}
                Err(error) => return Err(error),
            }
            let from = there.last().map_or(0, |row| row.version);
            match pending(list, from).next() {
                Some((version, migration)) if is_outside(migration) => {
                    if self.migrate_outside(version, migration).await? {
                        versions.push((version, title(migration.name)));
                    }
                }
                _ => versions.extend(self.migrate_inside(list).await?),
            }
        }
    }

    /// Applies what is pending up to the first migration without a transaction.
    async fn migrate_inside(&self, list: &[Migration]) -> Result<Vec<(i32, String)>, StoreError> {
        let mut lease = self.lease(Role::Bulk, "migrate the schema").await?;
        lease.begin().await?;
        let render = |text: &str| self.config().schema.render(text);
        lease
            .batch(&render(include_str!("sql/migrate_begin.sql")))
            .await?;
        let there = applied(&mut lease).await?;
        let from = there.last().map_or(0, |row| row.version);
        let mut versions = Vec::new();
        for (version, migration) in pending(list, from).take_while(|(_, m)| !is_outside(m)) {
            lease.batch(&render(&script(version, migration))).await?;
            versions.push((version, title(migration.name)));
        }
        lease.commit().await?;
        Ok(versions)
    }

    /// The SQL that [`Store::migrate`] would run, for `--sql` and `--dry-run`;
    /// empty when nothing is pending.
    pub async fn pending_sql(&self) -> Result<String, StoreError> {
        self.pending_sql_of(&MIGRATIONS).await
    }

    /// As [`Store::pending_sql`], with another list.
    pub(super) async fn pending_sql_of(&self, list: &[Migration]) -> Result<String, StoreError> {
        let mut lease = self.lease(Role::General, "look at the schema").await?;
        let from = applied(&mut lease)
            .await?
            .last()
            .map_or(0, |row| row.version);
        let mut text = String::new();
        let mut is_open = false;
        for (version, migration) in pending(list, from) {
            if is_outside(migration) {
                if std::mem::take(&mut is_open) {
                    text.push_str("\nCOMMIT;\n");
                }
                let title = title(migration.name);
                write!(
                    text,
                    "\n-- Migration {version}: {title}, outside a transaction\n"
                )
                .expect("writing to a string cannot fail");
                for statement in statements(&mut lease, migration).await? {
                    text.push_str(&statement);
                    text.push_str(";\n");
                }
                text.push_str(&record(version, migration));
                continue;
            }
            if !std::mem::replace(&mut is_open, true) {
                text.push_str("BEGIN;\n");
                text.push_str(include_str!("sql/migrate_begin.sql"));
            }
            write!(text, "\n{}", script(version, migration))
                .expect("writing to a string cannot fail");
        }
        if is_open {
            text.push_str("\nCOMMIT;\n");
        }
        Ok(self.config().schema.render(&text))
    }
}

struct AppliedRow {
    version: i32,
    /// The oldest version whose programs this one serves.
    serves: i32,
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
            serves: row.get("serves"),
            name: row.get("name"),
            sha256: row.get("sha256"),
            applied_at: row.get("applied_at"),
        })
        .collect())
}

/// Whether a program of the version `wanted` works on what was applied.
fn serves(there: &[AppliedRow], schema: String, wanted: i32) -> Result<(), StoreError> {
    let Some(last) = there.last() else {
        return Err(StoreError::SchemaMissing { schema });
    };
    let found = last.version;
    if found < wanted {
        Err(StoreError::SchemaOlder {
            schema,
            found,
            wanted,
        })
    } else if wanted < last.serves {
        Err(StoreError::SchemaNewer {
            schema,
            found,
            serves: last.serves,
            wanted,
        })
    } else {
        Ok(())
    }
}

fn version_of(list: &[Migration]) -> i32 {
    i32::try_from(list.len()).unwrap_or(i32::MAX)
}

fn pending(list: &[Migration], from: i32) -> impl Iterator<Item = (i32, &Migration)> {
    (1..).zip(list).filter(move |(n, _)| *n > from)
}

/// One migration and its own entries in the lists.
fn script(version: i32, migration: &Migration) -> String {
    let title = title(migration.name);
    let record = record(version, migration);
    format!(
        "-- Migration {version}: {title}\n{}\n{record}",
        migration.text
    )
}

/// The statement which says that a migration was applied.
pub(super) fn record(version: i32, migration: &Migration) -> String {
    include_str!("sql/migrate_record.sql")
        .replace("{{version}}", &version.to_string())
        .replace("{{name}}", &title(migration.name))
        .replace("{{sha256}}", &sha256(migration.text))
        .replace("{{serves}}", &migration.serves.to_string())
}

fn title(file: &str) -> String {
    file.split_once('_')
        .map_or(file, |(_, title)| title)
        .to_owned()
}

fn sha256(text: &str) -> String {
    pgtq_task::Digest::of(text.as_bytes()).to_string()
}
