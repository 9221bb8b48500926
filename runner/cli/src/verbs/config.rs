//! `pgtq config`: the settings with their origins, and a configuration file template.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use crate::config::keys::{KEYS, SettingType, kind_of};
use crate::config::{Config, Origin};
use crate::context::Context;
use crate::error::Problem;
use crate::output::{Cell, Rows};
use pgtq_store::DatabaseConfig;
use pgtq_task::Limits;

/// Arguments of `pgtq config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The subcommand; `show` if omitted
    #[command(subcommand)]
    pub(crate) what: Option<What>,
}

/// Subcommands of `pgtq config`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Print all settings
    Show {
        /// Also print the origin of each value: an option, a variable, a file or the default
        #[arg(long)]
        origin: bool,
    },
    /// Create a pgtq.toml that contains all settings, commented out
    Init,
    /// Print the configuration files in use, highest precedence first
    Path,
}

pub(crate) fn run(args: ConfigArgs, context: &Context) -> Result<(), Problem> {
    match args.what.unwrap_or(What::Show { origin: false }) {
        What::Show { origin } => show(context, origin),
        What::Init => init(context),
        What::Path => {
            let config = context.config(Vec::new())?;
            let files = config.layers.files.iter();
            let text: String = files.map(|file| format!("{}\n", file.display())).collect();
            context.out.raw(&text)?;
            if text.is_empty() {
                context.note("no configuration file is in use; create one with `pgtq config init`");
            }
            Ok(())
        }
    }
}

fn show(context: &Context, origin: bool) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let columns: &[&str] = match origin {
        true => &["setting", "value", "origin"],
        false => &["setting", "value"],
    };
    let mut rows = Rows::new("pgtq.config/v1", columns);
    for (key, value, from) in values(&config) {
        let mut cells: Vec<Cell> = vec![key.as_str().into(), value.as_str().into()];
        if origin {
            cells.push(from.to_string().into());
        }
        let json = serde_json::json!({"setting": key, "value": value, "origin": from.to_string()});
        rows.push(&key, cells, json);
    }
    context.out.rows(&rows)
}

/// All settings with their effective values, without passwords.
pub(crate) fn values(config: &Config) -> Vec<(String, String, Origin)> {
    let mut values = Vec::new();
    for key in KEYS.iter() {
        let (text, origin) = match config.layers.get(key.name) {
            Some(setting) => (setting.text.clone(), setting.origin.clone()),
            None => (String::new(), Origin::Default),
        };
        let text = match key.name.strip_prefix("caps.") {
            Some(limit) if text.is_empty() => cap(config, limit),
            _ => text,
        };
        let (text, origin) = match key.kind {
            SettingType::Url if config.layers.pg_variables && key.name == "database.url" => {
                let found = DatabaseConfig::from_env_like(|name| std::env::var(name).ok());
                let place = found
                    .ok()
                    .flatten()
                    .map_or_else(String::new, |found| found.place());
                (place, Origin::Env("PG*".to_owned()))
            }
            SettingType::Url if !text.is_empty() => (place(&text), origin),
            _ => (text, origin),
        };
        values.push((key.name.to_owned(), text, origin));
    }
    values.extend(config.grants.rows());
    for (key, setting) in config.layers.iter() {
        if !KEYS.iter().any(|known| known.name == key) && kind_of(key).is_some() {
            values.push((key.to_owned(), setting.text.clone(), setting.origin.clone()));
        }
    }
    values
}

/// The cap of this limit, where none is set.
fn cap(config: &Config, limit: &str) -> String {
    let field = Limits::FIELDS.iter().find(|field| field.name == limit);
    field.map_or_else(String::new, |field| field.text(&config.caps))
}

// Host, port and database. An invalid URL is not printed, because it may contain a password.
fn place(url: &str) -> String {
    match DatabaseConfig::parse(url) {
        Ok(found) => found.place(),
        Err(_) => "(invalid URL)".to_owned(),
    }
}

fn init(context: &Context) -> Result<(), Problem> {
    let path = context.here.join("pgtq.toml");
    let mut file = std::fs::File::create_new(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Problem::failed(format!("`{}` already exists", path.display()))
        }
        _ => Problem::failed(format!("cannot write `{}`: {error}", path.display())),
    })?;
    std::io::Write::write_all(&mut file, template().as_bytes())?;
    context.out.raw(&format!("{}\n", path.display()))
}

/// A configuration file with all settings, their defaults and their meaning.
pub(crate) fn template() -> String {
    let mut text = String::from(
        "# pgtq configuration. Options, PGTQ_* variables, DATABASE_URL and PG* variables override it.\n\
         # `pgtq config show --origin` prints the effective values and where they are set.\n",
    );
    let mut section = "";
    for key in KEYS.iter() {
        let (head, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if head != section {
            section = head;
            let _ = write!(text, "\n[{section}]\n");
        }
        let value = match key.kind {
            SettingType::Flag => key.default.to_owned(),
            _ => format!("\"{}\"", key.default),
        };
        let _ = writeln!(text, "# {name} = {value}   # {}", key.help);
    }
    text.push_str(
        "\n# Limits of one handler. They override the limits that it requests, and [caps].\n\
         # [handlers.thumbnail]\n# memory = \"256MiB\"\n# timeout = \"2m\"\n# fuel = \"50G\"\n\
         \n# [queues.media]\n# concurrency = 4\n\
         \n# Capabilities of the plugin file mailer.wasm: see docs/grants.md.\n\
         # Changes apply to new attempts without a restart.\n\
         # [grants.mailer]\n\
         # http = [\"POST https://api.mail.example/v3/\"]\n\
         # tcp = [\"smtp.example.com:587\"]\n\
         # networks = [\"loopback\", \"private\", \"10.1.0.0/16\"]\n\
         # sql = { role = \"reports\", password = \"reports_db\", statement_timeout = \"5s\", connections = 4 }\n\
         # secrets.stripe = { hosts = [\"api.stripe.com\"] }\n\
         # secrets.signing = { read = true }\n\
         # files.\"/data\" = { dir = \"/srv/reports\", write = true }\n\
         \n# Sources of the values of secrets. Do not write the values into this file.\n\
         # [secrets.stripe]\n# env = \"STRIPE_KEY\"\n\
         # [secrets.signing]\n# file = \"/run/secrets/signing\"\n\
         # [secrets.reports_db]\n# env = \"REPORTS_DB_PASSWORD\"\n",
    );
    text
}
