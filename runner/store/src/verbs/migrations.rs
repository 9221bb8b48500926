//! The files of `migrations/`, in the order in which they are applied.
//!
//! Numbered files change tables and are applied once. Files of functions and views are
//! applied again whenever their text has changed. `migrations/README.md` says how to add
//! to them.

use crate::sql::columns;

/// A numbered file, or several that are one version.
#[derive(Clone, Copy)]
pub(crate) struct Migration {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// A file of functions or views.
#[derive(Clone, Copy)]
pub(crate) struct FunctionFile {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../../migrations/", $name, ".sql"))
    };
}

macro_rules! functions {
    ($($name:literal),+ $(,)?) => {
        [$(FunctionFile {
            name: $name,
            text: include_str!(concat!("../../../../migrations/functions/", $name, ".sql")),
        }),+]
    };
}

/// In order; the version is the place, from 1, and the number of the file.
pub(crate) const MIGRATIONS: [Migration; 1] = [Migration {
    name: "0001_initial",
    text: concat!(
        file!("0001_initial/1_tasks"),
        file!("0001_initial/2_claims"),
        file!("0001_initial/3_history"),
        file!("0001_initial/4_runners"),
    ),
}];

/// In order: views come first, because functions return their rows. The order of the
/// others does not matter.
pub(crate) const FUNCTIONS: [FunctionFile; 17] = functions![
    "views",
    "wake",
    "unreadable",
    "lookup",
    "push",
    "push_task",
    "edit",
    "operate",
    "worker_pop",
    "worker_end",
    "worker_tend",
    "runner",
    "crashes",
    "partitions",
    "prune",
    "handler_sql",
    "roles",
];

impl Migration {
    /// The oldest version of the schema whose programs work on this one, as its header
    /// says.
    pub(crate) fn serves(&self) -> Option<i32> {
        let mut header = self.text.lines().take_while(|line| line.starts_with("--"));
        header.find_map(|line| line.strip_prefix("-- serves: ")?.trim().parse().ok())
    }

    /// The file's name without its number.
    pub(crate) fn title(&self) -> String {
        let title = self.name.split_once('_').map(|(_, title)| title);
        title.unwrap_or(self.name).to_owned()
    }

    pub(crate) fn sha256(&self) -> String {
        sha256(self.text)
    }

    /// The text, and the statement that records it.
    pub(crate) fn script(&self, version: i32) -> String {
        let (title, record) = (self.title(), self.record(version));
        format!("-- Migration {version}: {title}\n{}\n{record}", self.text)
    }

    /// The statement which says that it was applied.
    pub(crate) fn record(&self, version: i32) -> String {
        include_str!("../sql/migrate_record.sql")
            .replace("{{version}}", &version.to_string())
            .replace("{{name}}", &self.title())
            .replace("{{sha256}}", &self.sha256())
            .replace("{{serves}}", &self.serves().unwrap_or(version).to_string())
    }
}

impl FunctionFile {
    /// Of the text with the names of the columns in it, because they may change too.
    pub(crate) fn sha256(&self) -> String {
        sha256(&columns::render(self.text))
    }

    /// The text, and the statement that records it.
    fn script(&self) -> String {
        let record = include_str!("../sql/migrate_record_functions.sql")
            .replace("{{name}}", self.name)
            .replace("{{sha256}}", &self.sha256());
        format!("-- Functions: {}\n{}\n{record}", self.name, self.text)
    }
}

/// All files that a program applies.
#[derive(Clone)]
pub(crate) struct MigrationFiles {
    pub(crate) numbered: Vec<Migration>,
    pub(crate) functions: Vec<FunctionFile>,
}

impl MigrationFiles {
    /// Those of this program.
    pub(crate) fn ours() -> Self {
        MigrationFiles {
            numbered: MIGRATIONS.to_vec(),
            functions: FUNCTIONS.to_vec(),
        }
    }

    /// The version of the schema when all are applied.
    pub(crate) fn version(&self) -> i32 {
        i32::try_from(self.numbered.len()).unwrap_or(i32::MAX)
    }

    /// The numbered files after this version.
    pub(crate) fn pending(&self, from: i32) -> impl Iterator<Item = (i32, &Migration)> {
        (1..).zip(&self.numbered).filter(move |(n, _)| *n > from)
    }

    /// The script that brings functions and views up, and with them the privileges of all
    /// roles.
    pub(crate) fn functions_script(&self, changed: &[&FunctionFile]) -> String {
        let names: Vec<String> = self
            .functions
            .iter()
            .map(|f| format!("'{}'", f.name))
            .collect();
        let mut parts: Vec<String> = changed.iter().map(|file| file.script()).collect();
        parts.push(
            include_str!("../sql/migrate_forget_functions.sql")
                .replace("{{names}}", &names.join(", ")),
        );
        parts.push(include_str!("../sql/migrate_rights.sql").to_owned());
        parts.join("\n")
    }
}

fn sha256(text: &str) -> String {
    pgtq_task::Digest::of(text.as_bytes()).to_string()
}
/// What [`crate::connect::connection::Store::migrate`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The numbered files applied now, in order; empty when there was nothing to do.
    pub versions: Vec<(i32, String)>,
    /// The files of functions and views applied now.
    pub functions: Vec<String>,
}
