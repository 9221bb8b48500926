//! `pgtq migrate`: creates or updates the schema.

use clap::Args;
use jiff::Timestamp;

use crate::context::Context;
use crate::database;
use crate::error::{Exit, Problem};
use crate::output::{Cell, Rows};
use pgtq_store::{Applied, MigrationStatus, StoreError};

/// Arguments of `pgtq migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// List all migrations; exit with status 5 if one is pending
    #[arg(long, conflicts_with_all = ["dry_run", "sql"])]
    pub(crate) status: bool,
    /// List the migrations that would be applied, without applying them
    #[arg(long, conflicts_with = "sql")]
    pub(crate) dry_run: bool,
    /// Print the SQL that would be applied, without applying it
    #[arg(long)]
    pub(crate) sql: bool,
}

pub(crate) async fn run(args: MigrateArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let store = database::connect(context, &config).await?;
    if args.sql {
        return context.out.raw(&store.pending_sql().await?);
    }
    if args.status || args.dry_run {
        let all = store.migration_status().await?;
        context.out.rows(&rows(&all, store.now().await?))?;
        for one in all.iter().filter(|one| one.drifted) {
            context.warn(format!(
                "migration {} was applied with SQL that differs from this program's",
                one.title()
            ));
        }
        reject_newer(store.check_schema().await)?;
        let pending = all.iter().filter(|one| one.applied_at.is_none()).count();
        return match (pending, args.status) {
            (0, _) => Ok(()),
            (n, true) => Err(
                Problem::new(Exit::Schema, format!("pending migrations: {n}"))
                    .help("apply them with `pgtq migrate`"),
            ),
            (n, false) => {
                context.note(format!("migrations to apply: {n}"));
                Ok(())
            }
        };
    }
    context.writing(&config)?;
    for one in store.server().await?.unfit() {
        context.warn(format!("{}; {}", one.found, one.fix));
    }
    let applied = store.migrate().await?;
    if applied == Applied::default() {
        context.note(format!("schema {} is up to date", config.schema));
    }
    for (version, name) in applied.versions {
        context.note(format!("applied {version} {name}"));
    }
    if !applied.functions.is_empty() {
        context.note(format!(
            "applied functions: {}",
            applied.functions.join(", ")
        ));
    }
    Ok(())
}

// A missing or older schema is part of the output of `--status`.
fn reject_newer(checked: Result<(), StoreError>) -> Result<(), Problem> {
    match checked {
        Err(StoreError::SchemaMissing { .. } | StoreError::SchemaOlder { .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn rows(all: &[MigrationStatus], now: Timestamp) -> Rows {
    let mut rows = Rows::new("pgtq.migrations/v1", &["version", "name", "applied"]);
    for one in all {
        let applied = match one.applied_at {
            None => Cell::from("pending"),
            at => Cell::time(at, now),
        };
        let json = serde_json::json!({
            "version": one.version, "name": one.name,
            "applied_at": one.applied_at, "drifted": one.drifted,
        });
        let version = one.version.map_or_else(String::new, |n| n.to_string());
        rows.push(
            if version.is_empty() {
                &one.name
            } else {
                &version
            },
            vec![version.as_str().into(), one.name.as_str().into(), applied],
            json,
        );
    }
    rows
}
