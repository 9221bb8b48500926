//! `pgtq cancel`.

use clap::Args;

use super::bulk::{self, Act, BulkArgs};
use crate::context::Context;
use crate::error::Problem;

/// Arguments of `pgtq cancel`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a state, filters and --all select scheduled, runnable and running tasks.\n\nExamples:\n  pgtq cancel 42\n  pgtq cancel queue:media handler:thumb*"
)]
pub(crate) struct CancelArgs {
    /// Which tasks.
    #[command(flatten)]
    pub(crate) which: BulkArgs,
}

pub(crate) async fn run(args: CancelArgs, context: &Context) -> Result<(), Problem> {
    bulk::run(Act::Cancel, &args.which, context).await
}
