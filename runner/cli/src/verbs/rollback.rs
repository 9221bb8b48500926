//! `pgtq rollback`: restores the previous version of a plugin file.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::deploy;
use crate::config::values;
use crate::context::Context;
use crate::database;
use crate::error::Problem;
use crate::output::{Cell, Rows};
use pgtq_engine::plugin;
use pgtq_task::Digest;

/// Arguments of `pgtq rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Plugin file in the plugin directory, or one of its handlers
    #[arg(value_name = "NAME", required_unless_present = "list")]
    pub(crate) name: Option<String>,
    /// Restore the kept version whose digest starts with this prefix
    #[arg(long, value_name = "DIGEST")]
    pub(crate) to: Option<String>,
    /// List the kept versions
    #[arg(long)]
    pub(crate) list: bool,
    /// Plugin directory [env: PGTQ_PLUGINS] [default: plugins]
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<String>,
    /// Wait until every live runner has loaded the file; exit with status 124 after DURATION, 60s if omitted
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "60s", value_parser = values::duration)]
    pub(crate) wait: Option<Duration>,
}

pub(crate) async fn run(args: RollbackArgs, context: &Context) -> Result<(), Problem> {
    let config = deploy::directory(context, args.plugins.as_ref())?;
    let dir = &config.run.plugins;
    if args.list {
        return list(context, dir);
    }
    let name = args.name.as_deref().unwrap_or_default();
    let to = args
        .to
        .as_deref()
        .map(|prefix| kept(dir, prefix))
        .transpose()?;
    let done = tokio::task::block_in_place(|| plugin::rollback(dir, name, to))?;
    deploy::print_installed(context, &done);
    if let Some(limit) = args.wait {
        let store = database::open(context, &config).await?;
        deploy::live_everywhere(context, &store, &done, limit).await?;
    }
    Ok(())
}

fn list(context: &Context, dir: &Path) -> Result<(), Problem> {
    let mut rows = Rows::new(
        "pgtq.versions/v1",
        &["file", "version", "digest", "current"],
    );
    for kept in tokio::task::block_in_place(|| plugin::versions(dir))? {
        let current = if kept.current { "yes" } else { "" };
        let cells = vec![
            kept.name.as_str().into(),
            kept.number.to_string().into(),
            Cell::new(kept.digest.short(), kept.digest.to_string()),
            current.into(),
        ];
        let json = serde_json::json!({
            "file": kept.name, "number": kept.number,
            "digest": kept.digest.to_string(), "current": kept.current,
        });
        rows.push(kept.digest, cells, json);
    }
    context.out.rows(&rows)
}

/// The kept version whose digest starts with `prefix`.
fn kept(dir: &Path, prefix: &str) -> Result<Digest, Problem> {
    let prefix = prefix.to_ascii_lowercase();
    let mut found: Vec<Digest> = tokio::task::block_in_place(|| plugin::versions(dir))?
        .into_iter()
        .map(|kept| kept.digest)
        .filter(|digest| digest.to_string().starts_with(&prefix))
        .collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Problem::not_found(format!(
            "no kept version has a digest that starts with `{prefix}`"
        ))
        .help("list the kept versions: pgtq rollback --list")),
        many => Err(Problem::usage(format!(
            "{} kept versions have digests that start with `{prefix}`",
            many.len()
        ))
        .help("write more digits; list the kept versions: pgtq rollback --list")),
    }
}
