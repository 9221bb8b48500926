//! How the server is: what `pgtq doctor` tells of it.

use super::connection::Role;
use super::sql::sql;
use super::{Store, StoreError};

/// What a server says about itself to anybody who asks.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerState {
    /// It replays another server's log and takes no writes.
    pub standby: bool,
    /// Transactions are read-only by default.
    pub read_only: bool,
    /// Connections in use, and how many there may be for those who are no superuser.
    pub connections: (i64, i64),
    /// The same for this role; negative is no limit.
    pub connections_of_role: (i64, i64),
    /// Sessions of this database that wait for a lock.
    pub waiting: i64,
    /// Seconds since the oldest open transaction of this database began.
    pub oldest_seconds: f64,
    /// Seconds after which waiting for a lock is given up; 0 is never.
    pub lock_timeout: f64,
    /// The database's encoding.
    pub encoding: String,
    /// Which triggers and rules fire: `origin`, unless somebody set it for a replica.
    pub replication_role: String,
    /// The isolation level of transactions that do not name one.
    pub isolation: String,
    /// Our tables whose rows policies may hide from this role.
    pub row_security: Vec<String>,
    /// Its clock, in seconds since 1970.
    pub clock: f64,
}

/// Something that the schema relies on, and that this database has otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// What it is about, in a word or two.
    pub name: &'static str,
    /// It makes wrong outcomes, or none; else only some calls are refused.
    pub is_bad: bool,
    /// What is the matter.
    pub found: String,
    /// What to do about it.
    pub fix: String,
}

impl ServerState {
    /// What cannot be set in our own sessions.
    pub fn unfit(&self) -> Vec<Unfit> {
        let mut found = Vec::new();
        if self.encoding != "UTF8" {
            found.push(Unfit {
                name: "encoding",
                is_bad: true,
                found: format!(
                    "the database's encoding is {}: it cannot hold every text, or holds bytes that are no text",
                    self.encoding
                ),
                fix: "make a database with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0".to_owned(),
            });
        }
        if !self.row_security.is_empty() {
            found.push(Unfit {
                name: "row security",
                is_bad: true,
                found: format!(
                    "policies may hide rows of {} from this role: its statements fail",
                    self.row_security.join(", ")
                ),
                fix: "ALTER TABLE ... DISABLE ROW LEVEL SECURITY, or ALTER ROLE ... BYPASSRLS"
                    .to_owned(),
            });
        }
        if self.replication_role != "origin" {
            found.push(Unfit {
                name: "replication role",
                is_bad: true,
                found: format!(
                    "session_replication_role is {}: foreign keys and triggers do nothing",
                    self.replication_role
                ),
                fix: "ALTER ROLE ... RESET session_replication_role, and for the database"
                    .to_owned(),
            });
        }
        if !["read committed", "read uncommitted"].contains(&self.isolation.as_str()) {
            found.push(Unfit {
                name: "isolation",
                is_bad: false,
                found: format!(
                    "transactions are {} by default: pop, cancel and retry of applications are refused with 25001",
                    self.isolation
                ),
                fix: "there: BEGIN ISOLATION LEVEL READ COMMITTED; sessions of pgtq set it themselves".to_owned(),
            });
        }
        found
    }
}

impl Store {
    /// The database's clock, by which all ages are told: ours may be wrong.
    pub async fn now(&self) -> Result<jiff::Timestamp, StoreError> {
        let rows = self
            .run(Role::General, "ask for the time", sql!("now"), &[])
            .await?;
        Ok(rows[0].get("now"))
    }

    /// Every setting as a statement of ours finds it.
    #[cfg(test)]
    pub(super) async fn settings_in_force(&self) -> Result<Vec<(String, String)>, StoreError> {
        let sql = sql!("settings_in_force");
        let rows = self.run(Role::General, "look at the settings", sql, &[]);
        let rows = rows.await?;
        Ok(rows
            .iter()
            .map(|row| (row.get("name"), row.get("value")))
            .collect())
    }

    /// Asks the server how it is.
    pub async fn server(&self) -> Result<ServerState, StoreError> {
        let rows = self
            .run(
                Role::General,
                "ask the server how it is",
                sql!("server"),
                &[&self.config().schema.as_str()],
            )
            .await?;
        let row = &rows[0];
        Ok(ServerState {
            standby: row.get("standby"),
            read_only: row.get("read_only"),
            connections: (row.get("connections"), row.get("most_connections")),
            connections_of_role: (row.get("connections_of_role"), row.get("most_of_role")),
            waiting: row.get("waiting"),
            oldest_seconds: row.get("oldest"),
            lock_timeout: row.get("lock_timeout"),
            encoding: row.get("encoding"),
            replication_role: row.get("replication_role"),
            isolation: row.get("isolation"),
            row_security: row.get("row_security"),
            clock: row.get("clock"),
        })
    }
}
