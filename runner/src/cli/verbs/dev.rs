//! `pgtq dev`.
use clap::Args;
use crate::cli::context::Context;
use crate::cli::error::Problem;
/// A private Postgres and a runner with hot reload.
#[derive(Debug, Args)]
pub struct DevArgs {}
pub(in crate::cli) async fn run(_args: DevArgs, _context: &Context) -> Result<(), Problem> { Ok(()) }
