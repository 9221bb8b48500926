//! The top of the command line: global flags and the list of verbs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Flag, values};

use super::output::Format;
use super::verbs;

/// A task queue in your Postgres whose handlers are WebAssembly files.
#[derive(Debug, Parser)]
#[command(
    name = "pgtq",
    version,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    help_template = "{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}",
    after_help = "Start with `pgtq demo` (a guided tour) or `pgtq dev` (a private queue in this directory)."
)]
pub(crate) struct Root {
    /// Flags that every verb takes.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// When the output is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Flags that every verb takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Postgres connection URL [env: PGTQ_DATABASE_URL, DATABASE_URL, PG*]
    #[arg(long, global = true, value_name = "URL", hide_short_help = true)]
    pub(crate) database_url: Option<String>,
    /// The Postgres schema [env: PGTQ_SCHEMA] [default: pgtq]
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub(crate) schema: Option<String>,
    /// Read this file instead of searching for pgtq.toml [env: PGTQ_CONFIG]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub(crate) config: Option<PathBuf>,
    /// Output format [default: table on a terminal, TSV in a pipe]
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        hide_short_help = true
    )]
    pub(crate) output: Option<Format>,
    /// Same as --output json
    #[arg(long, global = true, conflicts_with = "output")]
    pub(crate) json: bool,
    /// When to colour [env: NO_COLOR, CLICOLOR_FORCE]
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_short_help = true
    )]
    pub(crate) color: Color,
    /// Say less; repeat for errors only
    #[arg(short, long, global = true, action = clap::ArgAction::Count, hide_short_help = true)]
    pub(crate) quiet: u8,
    /// Say more; repeat for everything [env: PGTQ_LOG, RUST_LOG]
    #[arg(short, long, global = true, action = clap::ArgAction::Count, hide_short_help = true)]
    pub(crate) verbose: u8,
    /// Do not ask, do it
    #[arg(short, long, global = true, hide_short_help = true)]
    pub(crate) yes: bool,
    /// Never ask; end with status 7 where an answer is needed
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_input: bool,
    /// Give up after this long, with status 124
    #[arg(long, global = true, value_name = "TIME", value_parser = values::duration, hide_short_help = true)]
    pub(crate) timeout: Option<Duration>,
    /// Refuse everything that changes tasks [env: PGTQ_READ_ONLY]
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) read_only: bool,
}

impl GlobalArgs {
    /// The settings among them.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let text =
            |key, flag, text: &Option<String>| text.clone().map(|text| Flag { key, flag, text });
        let read_only = self.read_only.then(|| Flag {
            key: "cli.read_only",
            flag: "--read-only",
            text: "true".to_owned(),
        });
        [
            text("database.url", "--database-url", &self.database_url),
            text("database.schema", "--schema", &self.schema),
            read_only,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// A guided tour: private Postgres, real plugins, real work, a hot swap
    Demo(verbs::demo::DemoArgs),
    /// A private Postgres and a runner with hot reload, in this directory
    Dev(verbs::dev::DevArgs),
    /// Run handlers from ./plugins against your database
    Run(verbs::run::RunArgs),
    /// Add a task; prints its id
    Push(verbs::push::PushArgs),
    /// List tasks
    #[command(visible_alias = "ls")]
    Tasks(verbs::tasks::TasksArgs),
    /// Everything about one task
    Show(verbs::show::ShowArgs),
    /// Measure this machine: tasks a second, latency, cost of one attempt
    Bench(verbs::bench::BenchArgs),
    /// What handlers logged
    Logs(verbs::logs::LogsArgs),
    /// Retry failed or cancelled tasks; run scheduled ones now
    Retry(verbs::retry::RetryArgs),
    /// Cancel waiting and running tasks
    Cancel(verbs::cancel::CancelArgs),
    /// Remove tasks for good
    Delete(verbs::delete::DeleteArgs),
    /// Queues and how much waits in them
    Queues(verbs::queues::QueuesArgs),
    /// Pause a queue or handler
    Pause(verbs::pause::PauseArgs),
    /// Resume a paused queue or handler
    Resume(verbs::pause::PauseArgs),
    /// Handlers and plugin files, what is live and what was refused
    Plugins(verbs::plugins::PluginsArgs),
    /// Live runners, their slots and plugins, and external workers
    Runners(verbs::runners::RunnersArgs),
    /// Make a new plugin crate
    New(verbs::new::NewArgs),
    /// Build plugin crates to .wasm files
    Build(verbs::build::BuildArgs),
    /// Run one handler of a file here, without a database
    Call(verbs::call::CallArgs),
    /// Run the golden cases of plugins in the real sandbox
    Test(verbs::test::TestArgs),
    /// Show a plugin file's handlers and requested capabilities, without running it
    Inspect(verbs::inspect::InspectArgs),
    /// Check a plugin file and install it atomically
    Deploy(verbs::deploy::DeployArgs),
    /// Put the previous version of a plugin file back
    Rollback(verbs::rollback::RollbackArgs),
    /// Create or update the schema
    Migrate(verbs::migrate::MigrateArgs),
    /// Grant pgtq privileges to database roles
    Roles(verbs::roles::RolesArgs),
    /// Check this machine and the database, with fixes
    Doctor(verbs::doctor::DoctorArgs),
    /// Health check: exit 0 if the database and schema are usable
    Health(verbs::health::HealthArgs),
    /// Counts, throughput and latency
    Stats(verbs::stats::StatsArgs),
    /// Drop history that is older than the retention
    Prune(verbs::prune::PruneArgs),
    /// Show or start a configuration
    Config(verbs::config::ConfigArgs),
    /// Print completions for a shell
    Completions(verbs::completions::CompletionsArgs),
    /// Versions of the program, the engine and the plugin contract
    Version(verbs::version::VersionArgs),
    /// Compile a plugin read from standard input (used by the runner itself)
    #[command(name = "compile-plugin", hide = true)]
    CompilePlugin,
}
