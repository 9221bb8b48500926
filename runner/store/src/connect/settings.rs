//! All session settings that the schema depends on.
//!
//! A database, a role or a pooler may change any of these. pgtq sets them in each session, and
//! behind a pooler in each transaction, so that every statement behaves the same.
//! [`Store::server`](crate::connect::connection::Store) checks what cannot be set.

/// Names and values. The comments say why the schema depends on them.
const SETTINGS: [(&str, &str); 13] = [
    // The second of two conflicting transactions sees what the first has committed.
    ("default_transaction_isolation", "read committed"),
    // A policy that hides rows is an error, not an empty queue.
    ("row_security", "off"),
    // Texts are UTF-8.
    ("client_encoding", "UTF8"),
    // A backslash in a literal is a backslash.
    ("standard_conforming_strings", "on"),
    // Operators and functions are those of Postgres.
    ("search_path", "pg_catalog, pg_temp"),
    // A day has 24 hours.
    ("TimeZone", "UTC"),
    // Times as text can be parsed again without loss.
    ("DateStyle", "ISO, MDY"),
    // So can intervals.
    ("IntervalStyle", "postgres"),
    // A lock wait ends with the statement's own timeout.
    ("lock_timeout", "0"),
    // A runner that hangs releases its locks before its lease expires.
    ("idle_in_transaction_session_timeout", "10s"),
    // The time between heartbeats is longer than some timeouts.
    ("idle_session_timeout", "0"),
    // Rescue and prune have their own timeouts. Since Postgres 17.
    ("transaction_timeout", "0"),
    // It costs more than pgtq's statements.
    ("jit", "off"),
];

/// Settings that BEGIN itself sets, that a pooler keeps, and that not every version has.
const NOT_IN_TRANSACTIONS: [&str; 3] = [
    "default_transaction_isolation",
    "client_encoding",
    "transaction_timeout",
];

/// The statement that sets all of them, and the statement timeout, for a session. It skips
/// settings that the server does not know.
pub(crate) fn for_session(statement_ms: u128) -> String {
    let values: Vec<String> = SETTINGS
        .iter()
        .map(|(name, value)| format!("('{name}', '{value}')"))
        .collect();
    include_str!("../sql/set_settings.sql")
        .replace("{{statement_ms}}", &statement_ms.to_string())
        .replace("{{values}}", &values.join(", "))
}

/// The text after the BEGIN of a transaction behind a pooler.
pub(crate) fn for_transaction(statement_ms: u128) -> String {
    let mut text = format!("SET LOCAL statement_timeout = '{statement_ms}ms'");
    let settings = SETTINGS
        .iter()
        .filter(|(name, _)| !NOT_IN_TRANSACTIONS.contains(name));
    for (name, value) in settings {
        match *name {
            // A list of names, each quoted separately.
            "search_path" => text.push_str(&format!("; SET LOCAL {name} = {value}")),
            _ => text.push_str(&format!("; SET LOCAL {name} = '{value}'")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::connection::Store;
    use crate::testdb::*;

    #[tokio::test]
    async fn every_setting_holds_in_a_session_and_behind_a_pooler() {
        let owner = store().await;
        let root = psql(&owner).await;
        let role = format!("{}_hostile", owner.config().schema);
        let mut text = format!("CREATE ROLE {role} LOGIN SUPERUSER;");
        for set in [
            "default_transaction_isolation = 'serializable'",
            "standard_conforming_strings = off",
            "search_path = public",
            "\"TimeZone\" = 'America/New_York'",
            "\"DateStyle\" = 'German'",
            "\"IntervalStyle\" = 'iso_8601'",
            "lock_timeout = '1ms'",
            "statement_timeout = '100ms'",
            "idle_in_transaction_session_timeout = '1ms'",
            "idle_session_timeout = '1s'",
        ] {
            text.push_str(&format!("ALTER ROLE {role} SET {set};"));
        }
        root.batch_execute(&text).await.expect("a role");
        for is_pooled in [false, true] {
            let mut config = owner.config().clone();
            config.postgres.user(&role);
            config.poll_only = is_pooled;
            let store = Store::connect(config).await.expect("connect");
            let found = store.settings_in_force().await.expect("asked");
            for (name, value) in SETTINGS {
                let is = found.iter().find(|(one, _)| *one == name);
                let Some((_, is)) = is else { continue };
                let behind = is_pooled && name.starts_with("default_transaction");
                assert!(behind || is == value, "{name} is {is}, pooled {is_pooled}");
            }
            let is_level = |(name, value): &(String, String)| {
                name == "transaction_isolation" && value == "read committed"
            };
            assert!(found.iter().any(is_level), "{found:?}");
        }
    }
}
