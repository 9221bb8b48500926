//! The command line: global options and the list of verbs.

use clap::{Parser, Subcommand};

use super::global_args::GlobalArgs;
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
    /// Measure throughput, latency and the cost of one attempt on this machine
    Bench(verbs::bench::BenchArgs),
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
