//! The verbs, one file each: options and implementation.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod call;
pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod delete;
pub(crate) mod demo;
pub(crate) mod deploy;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod inspect;
pub(crate) mod logs;
pub(crate) mod migrate;
pub(crate) mod new;
pub(crate) mod pause;
pub(crate) mod plugins;
pub(crate) mod prune;
pub(crate) mod push;
pub(crate) mod queues;
pub(crate) mod retry;
pub(crate) mod roles;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod runners;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod tasks;
pub(crate) mod test;
pub(crate) mod version;

mod bulk;

use super::context::Context;
use super::error::Problem;
use super::root::Verb;

/// Runs a verb.
pub(crate) async fn dispatch(verb: Verb, context: &Context) -> Result<(), Problem> {
    match verb {
        Verb::Demo(args) => demo::run(args, context).await,
        Verb::Bench(args) => bench::run(args, context).await,
        Verb::Dev(args) => dev::run(args, context).await,
        Verb::Run(args) => Box::pin(run::run(args, context)).await,
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
        Verb::Test(args) => test::run(args, context).await,
        Verb::Inspect(args) => inspect::run(args, context).await,
        Verb::Deploy(args) => deploy::run(args, context).await,
        Verb::Rollback(args) => rollback::run(args, context).await,
        Verb::Migrate(args) => migrate::run(args, context).await,
        Verb::Roles(args) => roles::run(args, context).await,
        Verb::Doctor(args) => doctor::run(args, context).await,
        Verb::Health(args) => health::run(args, context).await,
        Verb::Stats(args) => stats::run(args, context).await,
        Verb::Prune(args) => prune::run(args, context).await,
        Verb::Config(args) => config::run(args, context),
        Verb::Completions(args) => completions::run(&args, context),
        Verb::Version(args) => version::run(args, context),
        Verb::CompilePlugin => Err(Problem::usage("compile-plugin is started by the runner")),
    }
}
