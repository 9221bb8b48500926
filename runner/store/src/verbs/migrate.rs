//! Brings the schema up.
//!
//! Forward only. All pending numbered files run in one transaction under a lock (those
//! of `migrate_outside` split it), and after them the files of functions and views whose
//! text differs from what was applied last. What is pending is asked again under the
//! lock: any number of runners may start on an empty database at once. None of it waits
//! long for a table: pushes would wait behind it, so it gives up the lock and tries again.
//!
//! Each version says which older programs it still serves, so that the schema goes first
//! and runners of the version before work on. A program never replaces the functions of a
//! schema that is newer than itself. At its own version it replaces what differs, once in
//! each call: of two builds of one version the last to migrate wins, and [`Store::check_schema`]
//! does not look at functions, so that the other works on.

use std::fmt::Write as _;
use std::time::Duration;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::connect::session::Lease;
use crate::sql::sql;
use crate::verbs::migrate_outside::{is_outside, statements};
use crate::verbs::migrations::{Applied, FunctionFile, MIGRATIONS, MigrationFiles};

/// Pause between two attempts to take a lock that another session holds.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a lock is tried for: each time for half a second.
const TRIES: u32 = 100;

/// The schema version this program is written for.
pub const SCHEMA_VERSION: i32 = MIGRATIONS.len() as i32;

/// The status of one file of `migrations/` in this database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// 1, 2, 3 ...; `None` for a file of functions or views.
    pub version: Option<i32>,
    /// The file's name without number and ending.
    pub name: String,
    /// When it was applied; `None` means pending. A file of functions is pending too if
    /// another text was applied.
    pub applied_at: Option<jiff::Timestamp>,
    /// The text of a numbered file that was applied differs from the one in this program.
    pub drifted: bool,
}

impl MigrationStatus {
    /// Its version and name, or the name of a file of functions.
    pub fn title(&self) -> String {
        match self.version {
            Some(version) => format!("{version} {}", self.name),
            None => self.name.clone(),
        }
    }
}

impl Store {
    /// Ok if the schema is the one this program is written for, or a newer one
    /// that serves it.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let mut lease = self.lease(Role::General, "look at the schema").await?;
        let schema = self.config().schema.to_string();
        serves(&applied(&mut lease).await?, schema, SCHEMA_VERSION)
    }

    /// All files known here or applied there.
    pub async fn migration_status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        let mut lease = self.lease(Role::General, "look at the schema").await?;
        let there = applied(&mut lease).await?;
        let functions = applied_functions(&mut lease, &there).await?;
        let ours = MigrationFiles::ours();
        let is_newer = version(&there) > ours.version();
        let mut all: Vec<MigrationStatus> = ours
            .pending(0)
            .map(|(version, migration)| {
                let row = there.iter().find(|row| row.version == version);
                MigrationStatus {
                    version: Some(version),
                    name: migration.title(),
                    applied_at: row.map(|row| row.applied_at),
                    drifted: row.is_some_and(|row| row.sha256 != migration.sha256()),
                }
            })
            .collect();
        let later = there.iter().filter(|row| row.version > ours.version());
        all.extend(later.map(|row| MigrationStatus {
            version: Some(row.version),
            name: row.name.clone(),
            applied_at: Some(row.applied_at),
            drifted: false,
        }));
        let function = |name: &str, applied_at| MigrationStatus {
            version: None,
            name: format!("functions/{name}"),
            applied_at,
            drifted: false,
        };
        if is_newer {
            // They are the newer program's, and right as they are.
            let theirs = functions.iter();
            all.extend(theirs.map(|row| function(&row.name, Some(row.applied_at))));
        } else {
            all.extend(ours.functions.iter().map(|file| {
                let row = functions.iter().find(|row| row.is(file));
                function(file.name, row.map(|row| row.applied_at))
            }));
        }
        Ok(all)
    }

    /// Applies what is pending, all in one transaction. Safe to call from many
    /// runners at once, and while others push and run tasks. Refuses a schema
    /// that is too new for this program.
    pub async fn migrate(&self) -> Result<Applied, StoreError> {
        self.migrate_to(&MigrationFiles::ours()).await
    }

    /// As [`Store::migrate`], with other files: tests go on to later versions.
    pub(crate) async fn migrate_to(&self, files: &MigrationFiles) -> Result<Applied, StoreError> {
        for n_tries in 1.. {
            match self.migrate_once(files).await {
                Err(StoreError::Locked { .. }) if n_tries < TRIES => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
        unreachable!("the last try returned")
    }

    async fn migrate_once(&self, files: &MigrationFiles) -> Result<Applied, StoreError> {
        let schema = self.config().schema.to_string();
        let mut done = Applied::default();
        loop {
            // The usual case takes no lock.
            let mut lease = self.lease(Role::General, "look at the schema").await?;
            let there = applied(&mut lease).await?;
            match serves(&there, schema.clone(), files.version()) {
                Ok(()) => {
                    let functions = applied_functions(&mut lease, &there).await?;
                    if changed(files, version(&there), &functions).is_empty() {
                        return Ok(done);
                    }
                }
                Err(StoreError::SchemaMissing { .. } | StoreError::SchemaOlder { .. }) => {}
                Err(error) => return Err(error),
            }
            drop(lease);
            let next = files.pending(version(&there)).next();
            let is_over = match next {
                Some((version, migration)) if is_outside(migration) => {
                    self.migrate_outside(version, migration, files, &mut done)
                        .await?;
                    false
                }
                _ => self.migrate_inside(files, &mut done).await?,
            };
            // Not once more: a build with other functions may have been next.
            if is_over {
                return Ok(done);
            }
        }
    }

    /// Applies what is pending up to the first migration without a transaction. True:
    /// there is none, and the functions are those of `files`.
    async fn migrate_inside(
        &self,
        files: &MigrationFiles,
        done: &mut Applied,
    ) -> Result<bool, StoreError> {
        let mut lease = self.lease(Role::Bulk, "migrate the schema").await?;
        lease.begin().await?;
        let render = |text: &str| self.config().schema.render(text);
        lease
            .batch(&render(include_str!("../sql/migrate_begin.sql")))
            .await?;
        let there = applied(&mut lease).await?;
        let schema = self.config().schema.to_string();
        if let Err(error @ StoreError::SchemaNewer { .. }) = serves(&there, schema, files.version())
        {
            return Err(error);
        }
        let mut applied = Applied::default();
        let mut newest = version(&there);
        let pending = files.pending(newest).take_while(|(_, m)| !is_outside(m));
        for (version, migration) in pending {
            lease.batch(&render(&migration.script(version))).await?;
            applied.versions.push((version, migration.title()));
            newest = version;
        }
        let is_over = newest >= files.version();
        if is_over {
            let is_bare = applied.versions.is_empty();
            applied.functions = self
                .replace_functions(&mut lease, files, newest, is_bare)
                .await?;
        }
        lease.commit().await?;
        done.versions.append(&mut applied.versions);
        done.functions.append(&mut applied.functions);
        Ok(is_over)
    }

    /// Applies the files of functions that differ, in the transaction of `lease`, which
    /// holds the lock. `is_bare`: no numbered file was applied before them. Returns their
    /// names.
    pub(crate) async fn replace_functions(
        &self,
        lease: &mut Lease<'_>,
        files: &MigrationFiles,
        version: i32,
        is_bare: bool,
    ) -> Result<Vec<String>, StoreError> {
        let applied = function_rows(lease).await?;
        let changed = changed(files, version, &applied);
        if version > files.version() || (is_bare && changed.is_empty()) {
            return Ok(Vec::new());
        }
        let script = files.functions_script(&changed);
        lease.batch(&self.config().schema.render(&script)).await?;
        Ok(changed.iter().map(|file| file.name.to_owned()).collect())
    }

    /// The SQL that [`Store::migrate`] would run, for `--sql` and `--dry-run`;
    /// empty when nothing is pending.
    pub async fn pending_sql(&self) -> Result<String, StoreError> {
        self.pending_sql_of(&MigrationFiles::ours()).await
    }

    /// As [`Store::pending_sql`], with other files.
    pub(crate) async fn pending_sql_of(
        &self,
        files: &MigrationFiles,
    ) -> Result<String, StoreError> {
        const BEGIN: &str = concat!("BEGIN;\n", include_str!("../sql/migrate_begin.sql"));
        let mut lease = self.lease(Role::General, "look at the schema").await?;
        let there = applied(&mut lease).await?;
        let functions = applied_functions(&mut lease, &there).await?;
        let mut text = String::new();
        let mut is_open = false;
        for (version, migration) in files.pending(version(&there)) {
            if is_outside(migration) {
                if std::mem::take(&mut is_open) {
                    text.push_str("\nCOMMIT;\n");
                }
                let title = migration.title();
                write!(
                    text,
                    "\n-- Migration {version}: {title}, outside a transaction\n"
                )
                .expect("writing to a string cannot fail");
                for statement in statements(&mut lease, migration).await? {
                    text.push_str(&statement);
                    text.push_str(";\n");
                }
            }
            if !std::mem::replace(&mut is_open, true) {
                text.push_str(BEGIN);
            }
            // What runs outside is recorded with what comes after it.
            let part = match is_outside(migration) {
                true => migration.record(version),
                false => migration.script(version),
            };
            write!(text, "\n{part}").expect("writing to a string cannot fail");
        }
        let changed = changed(files, version(&there), &functions);
        if is_open || !changed.is_empty() {
            if !is_open {
                text.push_str(BEGIN);
            }
            let part = files.functions_script(&changed);
            write!(text, "\n{part}\nCOMMIT;\n").expect("writing to a string cannot fail");
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

/// A file of functions that was applied.
struct FunctionRow {
    name: String,
    sha256: String,
    applied_at: jiff::Timestamp,
}

impl FunctionRow {
    /// Whether it is this one, with this text.
    fn is(&self, file: &FunctionFile) -> bool {
        self.name == file.name && self.sha256 == file.sha256()
    }
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

/// Which files of functions were applied; nothing when there is no schema.
async fn applied_functions(
    lease: &mut Lease<'_>,
    there: &[AppliedRow],
) -> Result<Vec<FunctionRow>, StoreError> {
    match there.is_empty() {
        true => Ok(Vec::new()),
        false => function_rows(lease).await,
    }
}

async fn function_rows(lease: &mut Lease<'_>) -> Result<Vec<FunctionRow>, StoreError> {
    let rows = lease.query(sql!("migrate_functions"), &[]).await?;
    Ok(rows
        .iter()
        .map(|row| FunctionRow {
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

/// The newest version that was applied; 0: none.
fn version(there: &[AppliedRow]) -> i32 {
    there.last().map_or(0, |row| row.version)
}

/// The files of functions that differ from what was applied. None of a newer schema.
fn changed<'a>(
    files: &'a MigrationFiles,
    version: i32,
    applied: &[FunctionRow],
) -> Vec<&'a FunctionFile> {
    if version > files.version() {
        return Vec::new();
    }
    let is_applied = |file: &FunctionFile| applied.iter().any(|row| row.is(file));
    let all = files.functions.iter();
    all.filter(|file| !is_applied(file)).collect()
}
