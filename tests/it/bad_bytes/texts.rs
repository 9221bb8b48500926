//! Unusual and invalid JSON as arguments.

use pgtq_tests::{cli, plugin_dir};

use crate::tasks::{UNFINISHED, database, runner, wait_for_finished};

/// Valid and invalid arguments.
fn jsons() -> Vec<String> {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let mut all: Vec<String> = [
        r#"{"a":1,"a":2}"#,
        r#"{"":{"":{"":0}}}"#,
        r#"{"a":1e400,"b":-1e-400}"#,
        r#"{"a":123456789012345678901234567890,"b":2}"#,
        r#"{"a":-0,"b":0.1e1}"#,
        r#"["\ud800"]"#,
        r#"["\udc00\ud800"]"#,
        r#"["\u0000"]"#,
        r#"{"\u0000":1}"#,
        "[\"\u{202e}\u{fffe}\u{10ffff}\"]",
        r#"["\x"]"#,
        "[1,]",
        "[NaN]",
        "{'a':1}",
        "[1] [2]",
        "[01]",
        "\u{feff}[]",
        "[\"\u{1}\"]",
        "",
        " ",
    ]
    .map(str::to_owned)
    .to_vec();
    all.extend([100, 127, 128, 129, 1_000, 5_000].map(nested));
    all
}

/// Arguments pushed by SQL run, fail with a clear error, or are rejected by the database.
/// The command line accepts nothing that the database rejects.
#[test]
fn any_text_pushed_as_arguments_is_run_or_rejected_with_a_clear_error() {
    let (database, sql) = database();
    let dir = plugin_dir(&["hello"]);
    let mut runner = runner(database.url(), dir.path(), "", &[]);
    runner.wait_for("plugin hello.wasm: live");
    let (mut n_taken, mut n_refused) = (0, 0);
    for json in jsons() {
        let quoted = json.replace('\'', "''");
        let by_sql = sql.try_rows(&format!("SELECT pgtq.push('add_numbers', '{quoted}')"));
        let by_command = cli(
            database.url(),
            &["push", "greet", "-", "--allow-unknown"],
            &json,
        );
        assert!(
            matches!(by_command.code, Some(0..=2)) && !by_command.stderr.contains("panicked"),
            "{json:.60}: {by_command:?}"
        );
        let taken = usize::from(by_sql.is_ok()) + usize::from(by_command.code == Some(0));
        n_taken += taken;
        n_refused += 2 - taken;
        if by_command.code != Some(0) {
            assert!(by_command.stderr.starts_with("error"), "{by_command:?}");
        }
        if let Err(error) = by_sql {
            assert!(error.as_db_error().is_some(), "{json:.60}: {error:?}");
        }
    }
    wait_for_finished(&sql, n_taken);
    let silent = "SELECT id FROM pgtq.history WHERE state <> 'complete' AND coalesce(error_message, '') = ''";
    assert_eq!(sql.rows(silent), [""; 0]);
    assert_eq!(sql.number(UNFINISHED), 0);
    assert!(runner.exited().is_none() && !runner.stderr().contains("panicked"));
    eprintln!("{n_taken} texts were taken and ended, {n_refused} refused");
    assert!(n_taken > 10 && n_refused > 10, "the test shows nothing");
}
