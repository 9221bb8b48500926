//! `pgtq retry`.

use clap::Args;

use super::bulk::{self, Act, BulkArgs};
use crate::context::Context;
use crate::error::Problem;

/// Arguments of `pgtq retry`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a state, filters and --all select failed tasks.\n\nExamples:\n  pgtq retry 42\n  pgtq retry handler:thumb* error:timeout since:2h"
)]
pub(crate) struct RetryArgs {
    /// Which tasks.
    #[command(flatten)]
    pub(crate) which: BulkArgs,
}

pub(crate) async fn run(args: RetryArgs, context: &Context) -> Result<(), Problem> {
    bulk::run(Act::Retry, &args.which, context).await
}
