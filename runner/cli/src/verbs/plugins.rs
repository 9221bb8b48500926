//! `pgtq plugins`: lists the plugin files of live runners with their state and the reason
//! of a rejection, or their handlers.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::context::Context;
use crate::database;
use crate::error::Problem;
use crate::output::{Cell, Rows};
use crate::text;
use pgtq_store::{HandlerRow, RunnerRow, Store};
use pgtq_task::Needs;

/// Arguments of `pgtq plugins`.
#[derive(Debug, Args)]
pub(crate) struct PluginsArgs {
    /// List handlers instead of plugin files
    #[arg(long)]
    pub(crate) handlers: bool,
}

pub(crate) async fn run(args: PluginsArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let store = database::open(context, &config).await?;
    let rows = match args.handlers {
        true => handlers(&store.handlers().await?, store.now().await?),
        false => files(&store).await?,
    };
    context.out.rows(&rows)?;
    if context.out.terminal && !args.handlers {
        for toml in lines_to_grant(&store.runners().await?) {
            context.note(format!(
                "\nto grant the denied capabilities, add to the runner's pgtq.toml:\n{}",
                toml.trim_end()
            ));
        }
    }
    if context.out.terminal && rows.len() == 0 {
        context.note("no live runner has a plugin; copy a .wasm file into its plugin directory");
    }
    Ok(())
}

fn handlers(handlers: &[HandlerRow], now: Timestamp) -> Rows {
    let mut rows = Rows::new(
        "pgtq.handlers/v1",
        &[
            "handler",
            "plugin",
            "digest",
            "file",
            "runners",
            "paused",
            "needs",
            "description",
        ],
    );
    for row in handlers {
        let cells = vec![
            row.info.name.as_str().into(),
            row.plugin.as_str().into(),
            Cell::new(short(&row.digest), row.digest.as_str()),
            row.file.as_str().into(),
            row.runners.len().to_string().into(),
            Cell::time(row.paused_at, now),
            needs(&row.info.needs).into(),
            Cell::new(
                text::line(&row.info.description, 50),
                row.info.description.as_str(),
            ),
        ];
        rows.push(&row.info.name, cells, row);
    }
    rows
}

/// The capabilities that a handler requests, as a short list.
fn needs(needs: &Needs) -> String {
    let kinds = [
        ("http", !needs.http.is_empty()),
        ("tcp", !needs.tcp.is_empty()),
        ("sql", needs.sql),
        ("secrets", !needs.secrets.is_empty()),
        ("files", !needs.files.is_empty()),
        ("push", !needs.push.is_empty()),
    ];
    let requested = kinds.iter().filter(|(_, is_requested)| *is_requested);
    requested
        .map(|(kind, _)| *kind)
        .collect::<Vec<_>>()
        .join(",")
}

/// `2 of 4 granted, 1 partially; denied: sql`.
fn granted(status: &Value) -> String {
    let count = |field: &str| {
        status
            .pointer(&format!("/needs/{field}"))
            .and_then(Value::as_u64)
    };
    let (Some(asked), Some(granted)) = (count("asked"), count("granted")) else {
        return String::new();
    };
    let list = |field: &str| -> Vec<&str> {
        let list = status.pointer(&format!("/needs/{field}"));
        let items = list.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect()
    };
    let (partly, refused) = (list("partly"), list("refused"));
    let mut text = format!("{granted} of {asked} granted");
    if !partly.is_empty() {
        text.push_str(&format!(", {} partially", partly.len()));
    }
    if !refused.is_empty() {
        text.push_str(&format!("; denied: {}", refused.join(", ")));
    }
    text
}

/// The lines that would grant the denied capabilities of all runners, without duplicates.
fn lines_to_grant(runners: &[RunnerRow]) -> BTreeSet<&str> {
    let statuses = runners.iter().flat_map(statuses);
    let lines = statuses.filter_map(|status| status.pointer("/needs/toml")?.as_str());
    lines.filter(|toml| !toml.is_empty()).collect()
}

/// A file in one state, and the runners that have it in this state.
struct File {
    status: Value,
    runners: Vec<String>,
}

async fn files(store: &Store) -> Result<Rows, Problem> {
    let mut files: BTreeMap<(String, String, String, String), File> = BTreeMap::new();
    for runner in store.runners().await? {
        for status in statuses(&runner) {
            let text = |field: &str| {
                status
                    .get(field)
                    .and_then(Value::as_str)
                    .unwrap_or("")
                    .to_owned()
            };
            // Runners can have different grants.
            let key = (text("file"), text("digest"), text("state"), granted(status));
            files
                .entry(key)
                .or_insert_with(|| File {
                    status: status.clone(),
                    runners: Vec::new(),
                })
                .runners
                .push(runner.name.clone());
        }
    }
    let mut rows = Rows::new(
        "pgtq.plugins/v1",
        &[
            "file", "state", "plugin", "digest", "handlers", "runners", "needs", "reason",
        ],
    );
    for ((file, digest, state, granted), found) in files {
        let part = |path: &str| {
            found
                .status
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or("")
        };
        let handlers: Vec<&str> = found
            .status
            .get("handlers")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let plugin = format!("{} {}", part("/plugin/name"), part("/plugin/version"));
        let cells = vec![
            file.as_str().into(),
            state.as_str().into(),
            plugin.trim().into(),
            Cell::new(short(&digest), digest.as_str()),
            handlers.join(",").into(),
            found.runners.join(",").into(),
            granted.into(),
            part("/reason").into(),
        ];
        let json =
            serde_json::json!({"file": file, "status": found.status, "runners": found.runners});
        rows.push(&file, cells, json);
    }
    Ok(rows)
}

/// The plugin files that the runner reported.
pub(crate) fn statuses(runner: &RunnerRow) -> &[Value] {
    runner.plugins.as_array().map_or(&[], Vec::as_slice)
}

fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}
