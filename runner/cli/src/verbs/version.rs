//! `pgtq version`.

use clap::Args;

use crate::context::Context;
use crate::error::Problem;
use crate::output::Cell;
use pgtq_store::SCHEMA_VERSION;

/// Arguments of `pgtq version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {}

pub(crate) fn run(_args: VersionArgs, context: &Context) -> Result<(), Problem> {
    let version = env!("CARGO_PKG_VERSION");
    let pairs: [(&str, Cell); 4] = [
        ("pgtq", version.into()),
        ("wasmtime", pgtq_sandbox::engine_version().into()),
        ("contract", pgtq_sandbox::CONTRACT.into()),
        ("schema", SCHEMA_VERSION.to_string().into()),
    ];
    let json = serde_json::json!({
        "pgtq": version, "wasmtime": pgtq_sandbox::engine_version(),
        "contract": pgtq_sandbox::CONTRACT, "schema_version": SCHEMA_VERSION,
    });
    context.out.one("pgtq.version/v1", version, &pairs, json)
}
