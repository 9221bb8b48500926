//! What a handler's SQL must not write to any log.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::handler_sql::tests::fixture::*;
use crate::handler_sql::work::Commit;
use pgtq_task::Database as _;

/// The log of the tests' server so far, without white space: the server wraps plans at any
/// place.
async fn server_log(fixture: &Fixture) -> String {
    let dir = fixture.ask("SHOW unix_socket_directories").await;
    let bytes = std::fs::read(std::path::Path::new(&dir).join("postgres.log"));
    let log = String::from_utf8_lossy(&bytes.expect("a log")).into_owned();
    log.split_whitespace().collect()
}

/// Bytes as the server prints the constants of a plan.
fn as_constants(bytes: &[u8]) -> String {
    let signed = bytes.iter().map(|byte| byte.cast_signed().to_string());
    signed.collect()
}

#[tokio::test]
async fn the_ticket_is_never_in_the_servers_log() {
    let fixture = Fixture::new().await;
    let ticket = fixture.runner.store.ticket().bytes();
    let hex = ticket.iter().map(|byte| format!("{byte:02x}"));
    let traces = [as_constants(ticket), hex.collect::<String>()];
    for (setting, value) in [
        ("debug_print_parse", "on"),
        ("debug_print_rewritten", "on"),
        ("debug_print_plan", "on"),
        ("log_parameter_max_length_on_error", "-1"),
        ("client_min_messages", "debug5"),
    ] {
        let set = format!("SELECT set_config('{setting}', '{value}', false)");
        fixture.run(&set).await.expect(setting);
    }
    let saving = |value: &'static str| fixture.database.save(&fixture.limits, "a", value, true);
    saving("1").await.expect("saved");
    fixture
        .database
        .checkpoint(&fixture.limits, "1")
        .await
        .expect("a checkpoint");
    fixture.run("SELECT 'seen_by_the_log'").await.expect("runs");
    saving("2").await.expect("saved");
    // Fails in the statement itself, so that its parameters would be logged.
    saving("{").await.expect_err("no JSON");
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Refused(_)), "{commit:?}");
    let log = server_log(&fixture).await;
    assert!(log.contains("seen_by_the_log"), "the settings work");
    for trace in traces {
        assert!(!log.contains(&trace), "{trace}");
    }
}

/// The driver's log in this process.
static DRIVER_LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct DriverLog;

impl io::Write for DriverLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = DRIVER_LOG.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn notices_of_a_handlers_sql_are_not_in_the_runners_log() {
    tracing_subscriber::fmt()
        .with_env_filter("off,tokio_postgres=info")
        .with_writer(|| DriverLog)
        .init();
    let fixture = Fixture::new().await;
    let shout = format!(
        "CREATE FUNCTION {}.shout(what text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', what; RETURN 1; END $$",
        fixture.theirs
    );
    fixture.sql.batch_execute(&shout).await.expect("a function");
    // The owner's connection is an ordinary one: this shows that the test captures the log.
    let ours = format!("SELECT {}.shout('said by the owner')", fixture.theirs);
    fixture.sql.batch_execute(&ours).await.expect("runs");
    fixture
        .run("SELECT set_config('client_min_messages', 'notice', false)")
        .await
        .expect("sets");
    let theirs = "SELECT shout('said by the handler')";
    assert_eq!(fixture.value(theirs).await, "1");
    let log = DRIVER_LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("said by the owner"), "{log}");
    assert!(!log.contains("said by the handler"), "{log}");
}
