//! The command line: global options and the list of verbs.

use clap::{CommandFactory, Parser, Subcommand};

use super::context::Context;
use super::error::Problem;
use super::global::GlobalArgs;
use super::verbs;

/// A Postgres task queue whose handlers are WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(
    name = "pgtq",
    version,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    help_template = "{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}",
    after_help = "A DURATION needs a unit: 500ms, 30s, 5m, 1h30m, 7d.\n\nStart with `pgtq demo` (a guided tour) or `pgtq dev` (a private queue in this directory)."
)]
pub(crate) struct Root {
    /// Options of every verb.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// The verb.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs, in the order of the help page.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a guided tour with a private Postgres, example plugins and a hot swap
    Demo(verbs::demo::DemoArgs),
    /// Start a private Postgres and a runner with hot reload in this directory
    Dev(verbs::dev::DevArgs),
    /// Start a runner that executes tasks with the plugins of a directory
    Run(verbs::run::RunArgs),
    /// Push a task and print its id
    Push(verbs::push::PushArgs),
    /// List tasks, newest first
    #[command(visible_alias = "ls")]
    Tasks(verbs::tasks::TasksArgs),
    /// Show one task with its attempts and logs
    Show(verbs::show::ShowArgs),
    /// Print the log lines of a task or handler
    Logs(verbs::logs::LogsArgs),
    /// Retry failed or cancelled tasks, or run scheduled tasks now
    Retry(verbs::retry::RetryArgs),
    /// Cancel scheduled, runnable and running tasks
    Cancel(verbs::cancel::CancelArgs),
    /// Delete tasks permanently
    Delete(verbs::delete::DeleteArgs),
    /// List queues and the number of tasks in them
    Queues(verbs::queues::QueuesArgs),
    /// Pause a queue or handler
    Pause(verbs::pause::PauseArgs),
    /// Resume a paused queue or handler
    Resume(verbs::pause::PauseArgs),
    /// List the plugin files or the handlers of all live runners
    Plugins(verbs::plugins::PluginsArgs),
    /// List live runners and external workers, or drain a runner
    Runners(verbs::runners::RunnersArgs),
    /// Create a plugin crate
    New(verbs::new::NewArgs),
    /// Build plugin crates to .wasm files
    Build(verbs::build::BuildArgs),
    /// Run one handler of a plugin file locally, without a database
    Call(verbs::call::CallArgs),
    /// Run the golden cases of plugins in the sandbox
    Test(verbs::test::TestArgs),
    /// Show a plugin file's handlers and requested capabilities, without running it
    Inspect(verbs::inspect::InspectArgs),
    /// Validate a plugin file and install it atomically
    Deploy(verbs::deploy::DeployArgs),
    /// Restore the previous version of a plugin file
    Rollback(verbs::rollback::RollbackArgs),
    /// Create or update the schema
    Migrate(verbs::migrate::MigrateArgs),
    /// Grant pgtq privileges to database roles, or list the grants
    Roles(verbs::roles::RolesArgs),
    /// Check this machine, the configuration and the database, and suggest fixes
    Doctor(verbs::doctor::DoctorArgs),
    /// Check health: exit with status 0 if the database and schema are usable
    Health(verbs::health::HealthArgs),
    /// Show task counts, throughput and latency
    Stats(verbs::stats::StatsArgs),
    /// Measure throughput, latency and the cost of one attempt on this machine
    Bench(verbs::bench::BenchArgs),
    /// Delete history that is older than the retention
    Prune(verbs::prune::PruneArgs),
    /// Show the configuration or create a configuration file
    Config(verbs::config::ConfigArgs),
    /// Print a completion script for a shell
    Completions(verbs::completions::CompletionsArgs),
    /// Print the versions of pgtq, the engine and the plugin contract
    Version(verbs::version::VersionArgs),
    /// Compile a plugin read from standard input (started by the runner)
    #[command(name = "compile-plugin", hide = true)]
    CompilePlugin,
}

impl Verb {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Problem> {
        match self {
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
            Verb::Completions(args) => {
                verbs::completions::run(&args, &mut Root::command(), context)
            }
            Verb::Version(args) => verbs::version::run(args, context),
            Verb::CompilePlugin => Err(Problem::usage("compile-plugin is started by the runner")),
        }
    }
}
