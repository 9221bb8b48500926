//! `pgtq delete`.

use clap::Args;

use super::bulk::{self, Act, BulkArgs};
use crate::context::Context;
use crate::error::Problem;

/// Arguments of `pgtq delete`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a state, filters and --all select tasks in every state except running.\n\nExamples:\n  pgtq delete 42\n  pgtq delete state:cancelled --dry-run"
)]
pub(crate) struct DeleteArgs {
    /// Which tasks.
    #[command(flatten)]
    pub(crate) which: BulkArgs,
}

pub(crate) async fn run(args: DeleteArgs, context: &Context) -> Result<(), Problem> {
    bulk::run(Act::Delete, &args.which, context).await
}
