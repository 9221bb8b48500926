//! Tests of the support library.

use std::path::Path;

use pgtq_tests::{Database, Runner, RunnerOptions, cli};

#[test]
fn the_program_runs_and_its_output_is_captured() {
    let database = Database::empty();
    assert!(
        cli(database.url(), &["version"], "")
            .success()
            .contains("pgtq")
    );
    let rejected = cli(database.url(), &["no-such-verb"], "");
    assert_eq!(rejected.code, Some(2));
    assert!(rejected.stderr.contains("no-such-verb"), "{rejected:?}");
}

#[test]
fn a_killed_runner_has_exited() {
    let database = Database::migrated();
    let plugins = tempfile::tempdir().expect("a temporary directory is created");
    let mut runner = Runner::start(database.url(), plugins.path(), &RunnerOptions::default());
    let process = format!("/proc/{}", runner.pid());
    assert!(Path::new(&process).exists() || !cfg!(target_os = "linux"));
    runner.kill();
    assert!(!Path::new(&process).exists());
}
