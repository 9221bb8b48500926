//! `pgtq delete`.

use clap::Args;

use super::bulk::{self, Act, BulkArgs};
use crate::context::Context;
use crate::error::Problem;

/// Remove tasks for good.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Which tasks.
    #[command(flatten)]
    pub(crate) which: BulkArgs,
}

pub(crate) async fn run(args: DeleteArgs, context: &Context) -> Result<(), Problem> {
    bulk::run(Act::Delete, &args.which, context).await
}
