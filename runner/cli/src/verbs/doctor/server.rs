//! Checks of the database server: conditions that prevent runners from working.

use pgtq_setup::doctor::{Check, Status};
use pgtq_store::{DatabaseConfig, ServerState};

/// Connections of one busy runner, without those for handlers' SQL.
const ONE_RUNNER: i64 = 10;
/// Age in seconds from which on a transaction prevents the removal of dead rows.
const OLD: f64 = 600.0;
/// Tolerated difference between clocks, in seconds.
const SKEW: f64 = 2.0;

/// `clock` is the time of this machine when the response arrived, in seconds since 1970.
pub(super) fn checks(database: &DatabaseConfig, server: &ServerState, clock: f64) -> Vec<Check> {
    let mut checks = vec![
        pooler(database),
        writes(server),
        connections(server),
        locks(server),
        clocks(server, clock),
    ];
    checks.extend(required_settings(server));
    checks
}

/// Settings that the schema requires and that sessions cannot change.
fn required_settings(server: &ServerState) -> Vec<Check> {
    let unfit = server.unfit();
    if unfit.is_empty() {
        return vec![ok(
            "settings",
            "UTF8, read committed, no row-level security that applies",
        )];
    }
    let status = |is_bad| if is_bad { Status::Bad } else { Status::Warn };
    unfit
        .into_iter()
        .map(|one| not_ok(one.name, status(one.is_bad), one.found, &one.fix))
        .collect()
}

fn ok(name: &'static str, detail: impl Into<String>) -> Check {
    Check {
        name,
        status: Status::Ok,
        detail: detail.into(),
        fix: None,
    }
}

fn not_ok(name: &'static str, status: Status, detail: String, fix: &str) -> Check {
    Check {
        name,
        status,
        detail,
        fix: Some(fix.to_owned()),
    }
}

fn pooler(database: &DatabaseConfig) -> Check {
    const NAME: &str = "pooler";
    match (database.poll_only, database.can_listen()) {
        (false, _) => ok(NAME, "direct connection to the server"),
        (true, true) => ok(
            NAME,
            "LISTEN bypasses the pooler through database.listen_url",
        ),
        (true, false) => not_ok(
            NAME,
            Status::Warn,
            "connection pooler or poll_only: new tasks are found by polling".to_owned(),
            "set database.listen_url to the server itself",
        ),
    }
}

fn writes(server: &ServerState) -> Check {
    const NAME: &str = "writes";
    if server.standby {
        return not_ok(
            NAME,
            Status::Bad,
            "this server is a standby".to_owned(),
            "list all hosts in the database URL: postgresql://host1,host2/db",
        );
    }
    if server.read_only {
        return not_ok(
            NAME,
            Status::Bad,
            "transactions on this server are read-only".to_owned(),
            "check default_transaction_read_only of the server, the database and the role; some providers set it when the disk is full",
        );
    }
    ok(NAME, "the server is writable")
}

fn connections(server: &ServerState) -> Check {
    const NAME: &str = "connections";
    let (used, most) = server.connections;
    let (used_of_role, most_of_role) = server.connections_of_role;
    let detail = match most_of_role {
        0.. => format!("{used} of {most}, {used_of_role} of this role's {most_of_role}"),
        _ => format!("{used} of {most}"),
    };
    let left = match most_of_role {
        0.. => (most - used).min(most_of_role - used_of_role),
        _ => most - used,
    };
    match left >= ONE_RUNNER {
        true => ok(NAME, detail),
        false => not_ok(
            NAME,
            Status::Warn,
            format!("{detail} in use; a runner needs about {ONE_RUNNER}"),
            "raise max_connections or the role's CONNECTION LIMIT, or use a connection pooler",
        ),
    }
}

fn locks(server: &ServerState) -> Check {
    const NAME: &str = "locks";
    if server.oldest_seconds > OLD {
        return not_ok(
            NAME,
            Status::Warn,
            format!(
                "the oldest transaction has been open for {:.0} s, {} sessions wait for locks",
                server.oldest_seconds, server.waiting
            ),
            "find it with: SELECT pid, state, query FROM pg_stat_activity ORDER BY xact_start",
        );
    }
    if server.lock_timeout > 0.0 && server.lock_timeout < 5.0 {
        return not_ok(
            NAME,
            Status::Warn,
            format!(
                "lock_timeout is {} s, shorter than some lock waits of pgtq",
                server.lock_timeout
            ),
            "ALTER ROLE the_runners_role SET lock_timeout = 0",
        );
    }
    ok(
        NAME,
        format!(
            "{} sessions wait for locks, no long-running transaction",
            server.waiting
        ),
    )
}

fn clocks(server: &ServerState, clock: f64) -> Check {
    const NAME: &str = "clocks";
    let ahead = clock - server.clock;
    match ahead.abs() < SKEW {
        true => ok(NAME, "this machine and the server agree"),
        false => not_ok(
            NAME,
            Status::Warn,
            format!(
                "this machine's clock is {:.0} s {} the server's; pgtq uses the server's clock",
                ahead.abs(),
                if ahead > 0.0 { "ahead of" } else { "behind" }
            ),
            "synchronize both clocks (chrony, systemd-timesyncd)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> ServerState {
        ServerState {
            standby: false,
            read_only: false,
            connections: (5, 97),
            connections_of_role: (5, -1),
            waiting: 0,
            oldest_seconds: 1.0,
            lock_timeout: 0.0,
            encoding: "UTF8".to_owned(),
            replication_role: "origin".to_owned(),
            isolation: "read committed".to_owned(),
            row_security: Vec::new(),
            clock: 1_000.0,
        }
    }

    #[test]
    fn unsuitable_server_settings_are_reported() {
        let server = ServerState {
            encoding: "SQL_ASCII".to_owned(),
            replication_role: "replica".to_owned(),
            isolation: "serializable".to_owned(),
            row_security: vec!["runnable_tasks".to_owned()],
            ..healthy()
        };
        let found: Vec<_> = required_settings(&server)
            .into_iter()
            .map(|check| (check.name, check.status))
            .collect();
        assert_eq!(
            found,
            [
                ("encoding", Status::Bad),
                ("row security", Status::Bad),
                ("replication role", Status::Bad),
                ("isolation", Status::Warn),
            ]
        );
        assert_eq!(required_settings(&healthy())[0].status, Status::Ok);
    }

    fn found(server: &ServerState, clock: f64) -> Vec<(&'static str, String)> {
        let database = DatabaseConfig::parse("postgres://localhost/app").unwrap();
        let checks = checks(&database, server, clock);
        let not_ok = checks
            .into_iter()
            .filter(|check| check.status != Status::Ok);
        not_ok.map(|check| (check.name, check.detail)).collect()
    }

    #[test]
    fn a_healthy_server_has_no_findings() {
        assert_eq!(found(&healthy(), 1_001.0), []);
    }

    #[test]
    fn each_problem_of_a_server_is_named() {
        let of = |change: fn(&mut ServerState)| {
            let mut server = healthy();
            change(&mut server);
            let mut all = found(&server, 1_000.0);
            assert_eq!(all.len(), 1, "{all:?}");
            all.remove(0)
        };
        assert_eq!(of(|s| s.standby = true).0, "writes");
        assert_eq!(of(|s| s.read_only = true).0, "writes");
        assert_eq!(of(|s| s.connections = (90, 97)).0, "connections");
        let (name, detail) = of(|s| s.connections_of_role = (2, 3));
        assert_eq!(
            (name, detail.as_str()),
            (
                "connections",
                "5 of 97, 2 of this role's 3 in use; a runner needs about 10"
            )
        );
        assert_eq!(of(|s| s.oldest_seconds = 5_000.0).0, "locks");
        assert_eq!(of(|s| s.lock_timeout = 0.5).0, "locks");
        assert_eq!(
            of(|s| s.clock = 4_600.0).1,
            "this machine's clock is 3600 s behind the server's; pgtq uses the server's clock"
        );
    }
}
