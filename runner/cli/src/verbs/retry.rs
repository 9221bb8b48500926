//! `pgtq retry`.

use clap::Args;

use super::bulk::{self, Act, BulkArgs};
use crate::context::Context;
use crate::error::Problem;

/// Retry failed or cancelled tasks; run scheduled ones now.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// Which tasks.
    #[command(flatten)]
    pub(crate) which: BulkArgs,
}

pub(crate) async fn run(args: RetryArgs, context: &Context) -> Result<(), Problem> {
    bulk::run(Act::Retry, &args.which, context).await
}
