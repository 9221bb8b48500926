//! `pgtq version`.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::error::Problem;
use crate::cli::output::Cell;
use crate::sandbox;
use crate::store::SCHEMA_VERSION;

/// Versions of the program, the engine and the plugin contract.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {}

pub(crate) fn run(_args: VersionArgs, context: &Context) -> Result<(), Problem> {
    let version = env!("CARGO_PKG_VERSION");
    let pairs: [(&str, Cell); 4] = [
        ("pgtq", version.into()),
        ("wasmtime", sandbox::engine_version().into()),
        ("contract", sandbox::CONTRACT.into()),
        ("schema", SCHEMA_VERSION.to_string().into()),
    ];
    let json = serde_json::json!({
        "pgtq": version, "wasmtime": sandbox::engine_version(),
        "contract": sandbox::CONTRACT, "schema_version": SCHEMA_VERSION,
    });
    context.out.one("pgtq.version/v1", version, &pairs, json)
}
