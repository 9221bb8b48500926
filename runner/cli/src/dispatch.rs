//! Calls the function of a verb.

use clap::CommandFactory;

use super::context::Context;
use super::error::Problem;
use super::root::{Root, Verb};
use super::verbs;

/// Runs a verb.
pub(crate) async fn dispatch(verb: Verb, context: &Context) -> Result<(), Problem> {
    match verb {
        Verb::Demo(args) => verbs::demo::run(args, context).await,
        Verb::Bench(args) => verbs::bench::run(args, context).await,
        Verb::Dev(args) => verbs::dev::run(args, context).await,
        Verb::Run(args) => Box::pin(verbs::run::run(args, context)).await,
        Verb::Push(args) => verbs::push::run(args, context).await,
        Verb::Tasks(args) => verbs::tasks::run(args, context).await,
        Verb::Show(args) => verbs::show::run(args, context).await,
        Verb::Logs(args) => verbs::logs::run(args, context).await,
        Verb::Retry(args) => verbs::retry::run(args, context).await,
        Verb::Cancel(args) => verbs::cancel::run(args, context).await,
        Verb::Delete(args) => verbs::delete::run(args, context).await,
        Verb::Queues(args) => verbs::queues::run(args, context).await,
        Verb::Pause(args) => verbs::pause::pause(args, context).await,
        Verb::Resume(args) => verbs::pause::resume(args, context).await,
        Verb::Plugins(args) => verbs::plugins::run(args, context).await,
        Verb::Runners(args) => verbs::runners::run(args, context).await,
        Verb::New(args) => verbs::new::run(args, context),
        Verb::Build(args) => verbs::build::run(args, context),
        Verb::Call(args) => verbs::call::run(args, context).await,
        Verb::Test(args) => verbs::test::run(args, context).await,
        Verb::Inspect(args) => verbs::inspect::run(args, context).await,
        Verb::Deploy(args) => verbs::deploy::run(args, context).await,
        Verb::Rollback(args) => verbs::rollback::run(args, context).await,
        Verb::Migrate(args) => verbs::migrate::run(args, context).await,
        Verb::Roles(args) => verbs::roles::run(args, context).await,
        Verb::Doctor(args) => verbs::doctor::run(args, context).await,
        Verb::Health(args) => verbs::health::run(args, context).await,
        Verb::Stats(args) => verbs::stats::run(args, context).await,
        Verb::Prune(args) => verbs::prune::run(args, context).await,
        Verb::Config(args) => verbs::config::run(args, context),
        Verb::Completions(args) => verbs::completions::run(&args, Root::command(), context),
        Verb::Version(args) => verbs::version::run(args, context),
        Verb::CompilePlugin => Err(Problem::usage("compile-plugin is started by the runner")),
    }
}

/// The default log level of a verb: 2 is info, 1 is warnings, 0 is errors.
pub(crate) fn log_level(verb: &Verb) -> u8 {
    match verb {
        Verb::Run(_) | Verb::Dev(_) => 2,
        // The demo and the test cases cause rejections on purpose and report them.
        Verb::Demo(_) | Verb::Test(_) => 0,
        _ => 1,
    }
}
