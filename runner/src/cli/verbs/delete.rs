//! `pgtq delete`.

use clap::Args;

use super::bulk::{self, Act, BulkArgs};
use crate::cli::context::Context;
use crate::cli::error::Problem;

/// Remove tasks for good.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Which tasks.
    #[command(flatten)]
    pub which: BulkArgs,
}

pub(in crate::cli) async fn run(args: DeleteArgs, context: &Context) -> Result<(), Problem> {
    bulk::run(Act::Delete, &args.which, context).await
}
