//! One file per verb: its flags, and what it does.

pub mod build;
pub mod call;
pub mod cancel;
pub mod completions;
pub mod config;
pub mod delete;
pub mod demo;
pub mod deploy;
pub mod dev;
pub mod doctor;
pub mod health;
pub mod inspect;
pub mod logs;
pub mod migrate;
pub mod new;
pub mod pause;
pub mod plugins;
pub mod prune;
pub mod push;
pub mod queues;
pub mod retry;
pub mod rollback;
pub mod run;
pub mod runners;
pub mod show;
pub mod stats;
pub mod tasks;
pub mod version;

mod bulk;

use super::context::Context;
use super::error::Problem;
use super::root::Verb;

/// Does what the command line says.
pub(super) async fn dispatch(verb: Verb, context: &Context) -> Result<(), Problem> {
    match verb {
        Verb::Demo(args) => demo::run(args, context).await,
        Verb::Dev(args) => dev::run(args, context).await,
        Verb::Run(args) => run::run(args, context).await,
        Verb::Push(args) => push::run(args, context).await,
        Verb::Tasks(args) => tasks::run(args, context).await,
        Verb::Show(args) => show::run(args, context).await,
        Verb::Logs(args) => logs::run(args, context).await,
        Verb::Retry(args) => retry::run(args, context).await,
        Verb::Cancel(args) => cancel::run(args, context).await,
        Verb::Delete(args) => delete::run(args, context).await,
        Verb::Queues(args) => queues::run(args, context).await,
        Verb::Pause(args) => pause::pause(args, context).await,
        Verb::Resume(args) => pause::resume(args, context).await,
        Verb::Plugins(args) => plugins::run(args, context).await,
        Verb::Runners(args) => runners::run(args, context).await,
        Verb::New(args) => new::run(args, context),
        Verb::Build(args) => build::run(args, context),
        Verb::Call(args) => call::run(args, context).await,
        Verb::Inspect(args) => inspect::run(args, context).await,
        Verb::Deploy(args) => deploy::run(args, context).await,
        Verb::Rollback(args) => rollback::run(args, context).await,
        Verb::Migrate(args) => migrate::run(args, context).await,
        Verb::Doctor(args) => doctor::run(args, context).await,
        Verb::Health(args) => health::run(args, context).await,
        Verb::Stats(args) => stats::run(args, context).await,
        Verb::Prune(args) => prune::run(args, context).await,
        Verb::Config(args) => config::run(args, context),
        Verb::Completions(args) => completions::run(args, context),
        Verb::Version(args) => version::run(args, context),
        Verb::CompilePlugin => Err(Problem::usage("compile-plugin is run by the runner itself")),
    }
}
