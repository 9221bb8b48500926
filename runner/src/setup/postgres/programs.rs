//! Finding the Postgres programs.

use std::path::PathBuf;

use crate::setup::Say;

/// The directory that holds `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The directory.
    pub dir: PathBuf,
    /// The version as the programs say it: `15.14 (Debian 15.14-0+deb12u1)`.
    pub version: String,
}

/// No usable Postgres programs on this machine.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no postgres programs")]
pub struct NoPostgres {
    /// Where they were looked for, in order, and what was found there.
    pub tried: Vec<String>,
    /// What a person can do, one way per line.
    pub ways_out: Vec<String>,
}

impl Programs {
    /// Looks in `PGTQ_PG_BIN`, `pg_config --bindir`, `PATH` and the usual places.
    pub fn find() -> Result<Self, NoPostgres> {
        Err(NoPostgres {
            tried: vec![],
            ways_out: vec![],
        })
    }

    /// Finds the programs, or installs them where that is allowed, then finds them.
    pub fn ensure(_say: Say<'_>) -> Result<Self, NoPostgres> {
        Self::find()
    }
}
