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
    /// Its clock, in seconds since 1970.
    pub clock: f64,
}

impl Store {
    /// The database's clock, by which all ages are told: ours may be wrong.
    pub async fn now(&self) -> Result<jiff::Timestamp, StoreError> {
        let rows = self
            .run(Role::General, "ask for the time", sql!("now"), &[])
            .await?;
        Ok(rows[0].get("now"))
    }

    /// Asks the server how it is.
    pub async fn server(&self) -> Result<ServerState, StoreError> {
        let rows = self
            .run(
                Role::General,
                "ask the server how it is",
                sql!("server"),
                &[],
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
            clock: row.get("clock"),
        })
    }
}
