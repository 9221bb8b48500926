//! The options of every verb.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::output::Format;
use crate::config::{Flag, values};

/// The values of `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// Use colors if the output is a terminal
    Auto,
    /// Always use colors
    Always,
    /// Never use colors
    Never,
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Postgres connection URL [env: PGTQ_DATABASE_URL, DATABASE_URL, PG*]
    #[arg(long, global = true, value_name = "URL", hide_short_help = true)]
    pub(crate) database_url: Option<String>,
    /// Postgres schema that contains the queue [env: PGTQ_SCHEMA] [default: pgtq]
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub(crate) schema: Option<String>,
    /// Configuration file; skips the search for pgtq.toml [env: PGTQ_CONFIG]
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
    /// When to use colors [env: NO_COLOR, CLICOLOR_FORCE]
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_short_help = true
    )]
    pub(crate) color: Color,
    /// Print fewer messages; repeat to print errors only
    #[arg(short, long, global = true, action = clap::ArgAction::Count, hide_short_help = true)]
    pub(crate) quiet: u8,
    /// Print more log messages; repeat for debug and trace levels [env: PGTQ_LOG, RUST_LOG]
    #[arg(short, long, global = true, action = clap::ArgAction::Count, hide_short_help = true)]
    pub(crate) verbose: u8,
    /// Answer yes to every confirmation prompt
    #[arg(short, long, global = true, hide_short_help = true)]
    pub(crate) yes: bool,
    /// Never prompt; exit with status 7 if a confirmation is required
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_input: bool,
    /// Stop after this time and exit with status 124
    #[arg(long, global = true, value_name = "DURATION", value_parser = values::duration, hide_short_help = true)]
    pub(crate) timeout: Option<Duration>,
    /// Reject commands that change tasks [env: PGTQ_READ_ONLY]
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) read_only: bool,
}

impl GlobalArgs {
    /// The options that are also configuration keys.
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
