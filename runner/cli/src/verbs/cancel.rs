//! `pgtq cancel`.

use clap::Args;

use super::bulk::{self, Act, BulkArgs};
use crate::context::Context;
use crate::error::Problem;

/// Cancel waiting and running tasks.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// Which tasks.
    #[command(flatten)]
    pub(crate) which: BulkArgs,
}

pub(crate) async fn run(args: CancelArgs, context: &Context) -> Result<(), Problem> {
    bulk::run(Act::Cancel, &args.which, context).await
}
