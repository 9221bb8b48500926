//! `pgtq inspect`: shows the contents of a plugin file.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::config::Config;
use crate::context::Context;
use crate::error::Problem;
use crate::output::{Cell, Format, Rows};
use crate::{machine, text};
use pgtq_task::{Grant, GrantReport, HandlerInfo, LimitCut, Name, PluginGrantReport, Retries};

/// Arguments of `pgtq inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Plugin file (.wasm)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print the JSON Schema of this handler's arguments; runs the plugin in the sandbox
    #[arg(long, value_name = "HANDLER")]
    pub(crate) schema_of: Option<Name>,
}

pub(crate) async fn run(args: InspectArgs, context: &Context) -> Result<(), Problem> {
    if let Some(name) = &args.schema_of {
        return schema(&args, name, context).await;
    }
    let config = context.config(Vec::new())?;
    let bytes = machine::read(&args.file)?;
    let digest = pgtq_task::Digest::of(&bytes);
    let rejected = |reason: pgtq_sandbox::LoadError| {
        Problem::failed(format!("{} was rejected: {reason}", args.file.display()))
    };
    let found = pgtq_sandbox::inspect(&bytes).map_err(rejected)?;
    let settings = machine::settings(&config, 1)?;
    pgtq_sandbox::validate(&settings, Arc::from(bytes))
        .await
        .map_err(rejected)?;
    let form = match found.form {
        pgtq_sandbox::FileForm::Component => "component",
        pgtq_sandbox::FileForm::CoreModule => "core module",
    };
    let tools: Vec<String> = found
        .producers
        .iter()
        .map(|(_, tool, version)| format!("{tool} {version}").trim().to_owned())
        .collect();
    let plugin = args.file.file_stem().unwrap_or_default().to_string_lossy();
    let granted = config.grants.plugins.get(&*plugin);
    let grant = granted.map(|granted| granted.grant.clone());
    let grant = grant.unwrap_or_default();
    let of_all = found.handlers.iter().map(|handler| &handler.needs);
    let needs = PluginGrantReport::of(&plugin, of_all, &grant);
    let asked = asked(&found.handlers, &grant);
    let cut = cut(&config, &found.handlers, &grant);
    let limits = cut.toml(&plugin);
    let mut json = serde_json::to_value(&found).unwrap_or_default();
    if let Some(object) = json.as_object_mut() {
        object.insert("digest".to_owned(), digest.to_string().into());
        object.insert("asked".to_owned(), asked.as_json());
        let toml = needs.as_ref().map_or("", |needs| &needs.toml);
        object.insert("toml".to_owned(), toml.into());
        object.insert("limits_toml".to_owned(), limits.as_str().into());
    }
    let pairs = [
        ("file", Cell::from(args.file.display().to_string())),
        ("format", form.into()),
        ("contract", format!("pgtq:plugin@{}", found.contract).into()),
        ("digest", digest.to_string().into()),
        (
            "size",
            Cell::new(text::bytes(found.bytes), found.bytes.to_string()),
        ),
        ("imports", found.imports.join("\n").into()),
        ("producers", tools.join("\n").into()),
    ];
    context
        .out
        .one("pgtq.inspection/v1", digest, &pairs, json)?;
    if context.out.format == Format::Table {
        if context.out.terminal {
            context.out.raw("\n")?;
        }
        context.out.rows(&handlers(&found.handlers))?;
        if asked.len() > 0 {
            context.out.raw("\n")?;
            context.out.rows(&asked)?;
        }
        if let Some(needs) = needs.filter(|needs| !needs.toml.is_empty()) {
            context.note(format!(
                "\nto grant the missing capabilities, add to pgtq.toml:\n{}",
                needs.toml.trim_end()
            ));
        }
        if !limits.is_empty() {
            context.note(format!(
                "\nthis configuration allows less than the handlers request: {}; to raise the limits, add to pgtq.toml:\n{}",
                cut.reasons(&plugin).join(", "),
                limits.trim_end()
            ));
        }
    }
    Ok(())
}

async fn schema(args: &InspectArgs, name: &Name, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let sandbox = machine::sandbox(&config, 2)?;
    let loaded = machine::load(&sandbox, &args.file).await?;
    let handler = loaded
        .manifest
        .handlers
        .iter()
        .find(|handler| handler.name == *name);
    let handler =
        handler.ok_or_else(|| Problem::not_found(format!("the file has no handler `{name}`")))?;
    match &handler.arguments {
        Some(schema) => context.out.json(&format!("{schema:#}\n")),
        None => Err(Problem::failed(format!(
            "handler `{name}` has no argument schema"
        ))),
    }
}

/// The requested limits that a runner with this configuration would reduce: the largest of
/// each.
fn cut(config: &Config, handlers: &[HandlerInfo], grant: &Grant) -> LimitCut {
    let cuts = handlers.iter().map(|handler| {
        let decided = config.handlers.get(&handler.name).copied();
        let decided = decided.unwrap_or_default();
        LimitCut::of(&handler.limits, &decided, &config.caps, &grant.limits)
    });
    cuts.fold(LimitCut::default(), |sum, cut| sum.max(&cut))
}

/// The capabilities that each handler requests, and whether this configuration grants them.
fn asked(handlers: &[HandlerInfo], grant: &Grant) -> Rows {
    let mut rows = Rows::new(
        "pgtq.asked/v1",
        &["handler", "capability", "request", "status"],
    );
    for handler in handlers {
        for asked in GrantReport::all(&handler.needs, grant) {
            let cells = vec![
                handler.name.as_str().into(),
                asked.need.into(),
                asked.what.as_str().into(),
                asked.cover.as_str().into(),
            ];
            let json = serde_json::json!({
                "handler": handler.name, "need": asked.need, "what": asked.what,
                "answer": asked.cover.as_str(),
            });
            rows.push(&handler.name, cells, json);
        }
    }
    rows
}

fn handlers(handlers: &[HandlerInfo]) -> Rows {
    let mut rows = Rows::new(
        "pgtq.handlers/v1",
        &[
            "handler",
            "arguments",
            "retries",
            "timeout",
            "memory",
            "description",
        ],
    );
    for handler in handlers {
        let retries = match handler.retry.retries {
            Retries::Limited(n) => n.to_string(),
            Retries::Forever => "forever".to_owned(),
        };
        let timeout = handler
            .limits
            .timeout_ms
            .map(std::time::Duration::from_millis);
        let cells = vec![
            handler.name.as_str().into(),
            handler.positional.join(" ").into(),
            retries.into(),
            timeout.map_or_else(String::new, text::fine).into(),
            handler
                .limits
                .memory
                .map_or_else(String::new, text::bytes)
                .into(),
            handler.description.as_str().into(),
        ];
        rows.push(&handler.name, cells, handler);
    }
    rows
}
