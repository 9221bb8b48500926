//! Migrations that run outside a transaction, for `CREATE INDEX CONCURRENTLY`: an index
//! on a large table is built while tasks are pushed, claimed and ended.
//!
//! Such a file begins with the line [`MARK`], and has `-- serves:` in the next. Its statements run one by one, each must
//! be repeatable (`IF NOT EXISTS`), and the migration counts as applied after the last.
//! A run that was killed is continued by the next: the index that it left invalid is
//! dropped and built again. On partitioned tables Postgres builds no index
//! concurrently, so a statement behind the line `-- For each partition of history.` runs
//! for each of them with its name as `{{partition}}`; a `CREATE INDEX` on the table
//! itself then takes these indexes over at once.

use std::time::Duration;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::connect::session::Lease;
use crate::sql::sql;
use crate::verbs::migrations::{Applied, Migration, MigrationFiles};

/// The first line of a migration without a transaction.
pub(crate) const MARK: &str = "-- Outside a transaction.\n";

/// Time for one statement.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// One statement, and the partitioned table for whose partitions it is repeated.
#[derive(Debug, PartialEq, Eq)]
struct OutsideStatement {
    each: Option<String>,
    sql: String,
}

pub(crate) fn is_outside(migration: &Migration) -> bool {
    migration.text.starts_with(MARK)
}

/// Statements end with `;` at the end of a line.
fn steps(text: &str) -> Vec<OutsideStatement> {
    let one = |text: &str| {
        let each = text.lines().find_map(|line| {
            let name = line.trim().strip_prefix("-- For each partition of ")?;
            Some(name.trim_end_matches('.').to_owned())
        });
        let lines = text.lines().filter(|line| !line.trim().starts_with("--"));
        let sql = lines.collect::<Vec<_>>().join("\n").trim().to_owned();
        let sql = sql.trim_end_matches(';').to_owned();
        (!sql.is_empty()).then_some(OutsideStatement { each, sql })
    };
    text.split(";\n").filter_map(one).collect()
}

/// The index that a statement builds concurrently.
fn index(sql: &str) -> Option<&str> {
    let (_, rest) = sql.split_once("INDEX CONCURRENTLY IF NOT EXISTS ")?;
    rest.split_whitespace().next()
}

/// The statements of `migration` as they run in this database, with a `DROP` before each
/// that builds an index which is there and invalid.
pub(crate) async fn statements(
    lease: &mut Lease<'_>,
    migration: &Migration,
) -> Result<Vec<String>, StoreError> {
    let mut all = Vec::new();
    for step in steps(migration.text) {
        let mut names = vec![String::new()];
        if let Some(parent) = &step.each {
            let rows = lease.query(sql!("migrate_partitions"), &[parent]).await?;
            names = rows.iter().map(|row| row.get("name")).collect();
        }
        for name in names {
            let sql = step.sql.replace("{{partition}}", &name);
            if let Some(index) = index(&sql) {
                let rows = lease.query(sql!("migrate_invalid"), &[&index]).await?;
                if !rows.is_empty() {
                    all.push(format!(
                        "DROP INDEX CONCURRENTLY IF EXISTS {{{{schema}}}}.{index}"
                    ));
                }
            }
            all.push(sql);
        }
    }
    Ok(all)
}

impl Store {
    /// Runs one such migration, or continues it, unless another runner has done it. If it
    /// is the last of all, the functions are replaced with it: a program of this version
    /// finds both or neither.
    pub(crate) async fn migrate_outside(
        &self,
        version: i32,
        migration: &Migration,
        files: &MigrationFiles,
        done: &mut Applied,
    ) -> Result<(), StoreError> {
        let render = |text: &str| self.config().schema.render(text);
        // Runners take turns: a transaction that has no snapshot, for which Postgres does
        // not wait when it builds an index, holds a row. A lock on the table would also
        // hold up an ANALYZE, for which the index would wait.
        let mut turn = self.lease(Role::General, "migrate the schema").await?;
        turn.begin().await?;
        turn.batch(&render(
            "SET LOCAL lock_timeout = '500ms';
             SELECT m.version FROM {{schema}}.migrations AS m ORDER BY m.version LIMIT 1 FOR UPDATE",
        ))
        .await?;
        let last = turn.query(sql!("migrate_applied"), &[]).await?;
        if last
            .last()
            .is_some_and(|row| row.get::<_, i32>("version") >= version)
        {
            turn.rollback().await?;
            return Ok(());
        }
        // This also closes the query's portal, which would keep its snapshot.
        turn.batch("SET LOCAL idle_in_transaction_session_timeout = 0")
            .await?;
        let mut lease = self.lease(Role::Bulk, "migrate the schema").await?;
        let todo = statements(&mut lease, migration).await?;
        for statement in todo {
            let text = render(&statement);
            if text.contains(" CONCURRENTLY ") {
                lease.batch_for(&text, PATIENCE).await?;
            } else {
                // Pushes and endings would wait behind us: not for long.
                lease.begin().await?;
                lease.batch("SET LOCAL lock_timeout = '500ms'").await?;
                lease.batch(&text).await?;
                lease.commit().await?;
            }
        }
        turn.batch(&render(&migration.record(version))).await?;
        let mut functions = Vec::new();
        if version == files.version() {
            turn.batch(&render(
                "LOCK TABLE {{schema}}.migrations IN SHARE UPDATE EXCLUSIVE MODE",
            ))
            .await?;
            functions = self
                .replace_functions(&mut turn, files, version, false)
                .await?;
        }
        turn.commit().await?;
        done.versions.push((version, migration.title()));
        done.functions.append(&mut functions);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_statements_with_their_partitioned_table() {
        let text = "-- Outside a transaction.\n-- Why.\nCREATE INDEX CONCURRENTLY IF NOT EXISTS one\n ON a (b);\n\n-- For each partition of history.\nSELECT 1;\n";
        let found = steps(text);
        assert_eq!(found.len(), 2);
        assert_eq!(index(&found[0].sql), Some("one"));
        assert_eq!(found[1].each.as_deref(), Some("history"));
        assert_eq!(found[1].sql, "SELECT 1");
    }
}
