//! The support library, tried on itself.

use std::path::Path;

use pgtq_tests::{Database, Runner, RunnerOptions, cli};

#[test]
fn program_runs_and_its_words_are_caught() {
    let database = Database::empty();
    assert!(
        cli(database.url(), &["version"], "")
            .success()
            .contains("pgtq")
    );
    let refused = cli(database.url(), &["no-such-verb"], "");
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("no-such-verb"), "{refused:?}");
}

#[test]
fn runner_that_is_killed_is_gone() {
    let database = Database::migrated();
    let plugins = tempfile::tempdir().expect("a temporary directory is made");
    let mut runner = Runner::start(database.url(), plugins.path(), &RunnerOptions::default());
    let process = format!("/proc/{}", runner.pid());
    assert!(Path::new(&process).exists() || !cfg!(target_os = "linux"));
    runner.kill();
    assert!(!Path::new(&process).exists());
}
