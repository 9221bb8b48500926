//! `pgtq prune`: deletes old history. Runners do the same periodically.

use std::time::Duration;

use clap::Args;

use crate::config::values;
use crate::context::Context;
use crate::error::Problem;
use crate::output::Cell;
use crate::{ask, database, text};
use pgtq_store::Retention;

/// Arguments of `pgtq prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Delete history older than this instead of using `history` and `failed` in [retention]; at least 1h
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) older_than: Option<Duration>,
}

pub(crate) async fn run(args: PruneArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    context.writing(&config)?;
    let retention = args.older_than.unwrap_or(config.retention);
    let kept = config.retention.max(config.retention_failed);
    if args.older_than.is_some_and(|age| age < kept) {
        let question = format!(
            "Delete history older than {}, although the configured retention is {}?",
            text::coarse(retention),
            text::coarse(kept)
        );
        ask::confirm(context, &question)?;
    }
    let keep = Retention {
        history: retention,
        failed: args.older_than.unwrap_or(config.retention_failed),
    };
    let store = database::open(context, &config).await?;
    let pruned = store.prune(keep).await?;
    let pairs = [
        ("partitions dropped", Cell::count(pruned.dropped)),
        ("partitions created", Cell::count(pruned.created)),
        ("rows deleted", Cell::count(pruned.rows)),
    ];
    let json = serde_json::json!({
        "dropped": pruned.dropped, "created": pruned.created, "rows": pruned.rows,
    });
    context
        .out
        .one("pgtq.pruned/v1", pruned.dropped, &pairs, json)
}
