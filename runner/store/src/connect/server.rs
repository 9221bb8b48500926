//! The state of the server, as `pgtq doctor` reports it.

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::sql::sql;

/// What a server reports to any role.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerState {
    /// It is a standby and accepts no writes.
    pub standby: bool,
    /// Transactions are read-only by default.
    pub read_only: bool,
    /// Connections in use, and the limit for roles that are not superusers.
    pub connections: (i64, i64),
    /// The same for this role; negative means no limit.
    pub connections_of_role: (i64, i64),
    /// Sessions of this database that wait for a lock.
    pub waiting: i64,
    /// Age in seconds of the oldest open transaction of this database.
    pub oldest_seconds: f64,
    /// Its `lock_timeout` in seconds; 0 means none.
    pub lock_timeout: f64,
    /// The database's encoding.
    pub encoding: String,
    /// `session_replication_role`, which controls the triggers and rules that fire: `origin` by
    /// default.
    pub replication_role: String,
    /// The default isolation level.
    pub isolation: String,
    /// pgtq's tables with row security that applies to this role.
    pub row_security: Vec<String>,
    /// Its clock, in seconds since 1970.
    pub clock: f64,
}

/// A setting that the schema depends on and that is wrong in this database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSetting {
    /// Its subject, in a word or two.
    pub name: &'static str,
    /// It causes wrong results or total failure; otherwise only some calls are rejected.
    pub is_bad: bool,
    /// The problem.
    pub found: String,
    /// How to fix it.
    pub fix: String,
}

impl ServerState {
    /// The settings that pgtq cannot override in its own sessions.
    pub fn unfit(&self) -> Vec<WrongSetting> {
        let mut found = Vec::new();
        if self.encoding != "UTF8" {
            found.push(WrongSetting {
                name: "encoding",
                is_bad: true,
                found: format!(
                    "the database's encoding is {}: it cannot store every text, or accepts bytes that are not valid text",
                    self.encoding
                ),
                fix: "create a database with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0".to_owned(),
            });
        }
        if !self.row_security.is_empty() {
            found.push(WrongSetting {
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
            found.push(WrongSetting {
                name: "replication role",
                is_bad: true,
                found: format!(
                    "session_replication_role is {}: foreign keys and triggers are disabled",
                    self.replication_role
                ),
                fix: "ALTER ROLE ... RESET session_replication_role, and for the database"
                    .to_owned(),
            });
        }
        if !["read committed", "read uncommitted"].contains(&self.isolation.as_str()) {
            found.push(WrongSetting {
                name: "isolation",
                is_bad: false,
                found: format!(
                    "transactions are {} by default: pop, cancel and retry by applications fail with SQLSTATE 25001",
                    self.isolation
                ),
                fix: "use BEGIN ISOLATION LEVEL READ COMMITTED in applications; pgtq's own sessions set it themselves".to_owned(),
            });
        }
        found
    }
}

impl Store {
    /// The database's clock, the reference for all ages: the local clock may be wrong.
    pub async fn now(&self) -> Result<jiff::Timestamp, StoreError> {
        let rows = self
            .run(Role::General, "read the server's time", sql!("now"), &[])
            .await?;
        Ok(rows[0].get("now"))
    }

    /// Every setting as it is in force for one of pgtq's statements.
    #[cfg(test)]
    pub(crate) async fn settings_in_force(&self) -> Result<Vec<(String, String)>, StoreError> {
        let sql = sql!("settings_in_force");
        let rows = self.run(Role::General, "read the settings", sql, &[]);
        let rows = rows.await?;
        Ok(rows
            .iter()
            .map(|row| (row.get("name"), row.get("value")))
            .collect())
    }

    /// Reads the state of the server.
    pub async fn server(&self) -> Result<ServerState, StoreError> {
        let rows = self
            .run(
                Role::General,
                "read the server's state",
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
