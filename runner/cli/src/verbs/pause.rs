//! `pgtq pause` and `pgtq resume`.

use clap::Args;

use crate::context::Context;
use crate::database;
use crate::error::Problem;
use pgtq_task::Name;

/// Arguments of `pgtq pause` and `pgtq resume`.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Queue names
    #[arg(value_name = "QUEUE", required_unless_present = "handler")]
    pub(crate) queues: Vec<Name>,
    /// Pause or resume this handler in all queues; can be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) handler: Vec<Name>,
}

pub(crate) async fn pause(args: PauseArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    context.writing(&config)?;
    let store = database::open(context, &config).await?;
    for queue in &args.queues {
        match store.pause_queue(queue).await? {
            true => context.note(format!("queue {queue} paused; running tasks will finish")),
            false => context.note(format!("queue {queue} is already paused")),
        }
    }
    for handler in &args.handler {
        match store.pause_handler(handler).await? {
            true => context.note(format!(
                "handler {handler} paused; running tasks will finish"
            )),
            false => context.note(format!("handler {handler} is already paused")),
        }
    }
    Ok(())
}

pub(crate) async fn resume(args: PauseArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    context.writing(&config)?;
    let store = database::open(context, &config).await?;
    for queue in &args.queues {
        match store.resume_queue(queue).await? {
            true => context.note(format!("queue {queue} resumed")),
            false => context.note(format!("queue {queue} was not paused")),
        }
    }
    for handler in &args.handler {
        match store.resume_handler(handler).await? {
            true => context.note(format!("handler {handler} resumed")),
            false => context.note(format!("handler {handler} was not paused")),
        }
    }
    Ok(())
}
