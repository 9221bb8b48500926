//! Many files, files that crashed the process, a directory that disappears: with a
//! scripted sandbox, as in `directory`.

use std::path::PathBuf;
use std::time::Duration;

use super::support::{PluginFixture, ScriptedSandbox, handlers, options};
use crate::plugin::load_journal::tests::crash_under;
use crate::plugin::options::DirectoryOptions;
use crate::plugin::plugin_table::MAX_SERVING;
use crate::plugin::status::PluginState;
use pgtq_task::Digest;

const V1: &str = "plugin v1 x end";

#[tokio::test]
async fn rejected_files_take_no_plugin_place_and_are_not_all_listed() {
    let junk: Vec<(String, &str)> = (0..1_500)
        .map(|n| (format!("a{n:04}.wasm"), ["", "junk", "plugin v1 x"][n % 3]))
        .collect();
    let mut files: Vec<(&str, &str)> = junk.iter().map(|(name, text)| (&**name, *text)).collect();
    files.push(("z.wasm", V1));
    let fixture = PluginFixture::start(&files, options());
    fixture.plugins.ready().await;
    let snapshot = fixture.wait_live("z.wasm", V1).await;
    assert!(snapshot.plugins.len() <= 201, "{}", snapshot.plugins.len());
    let problem = |text: Option<&str>| text.is_some_and(|text| text.contains("the log has named"));
    fixture
        .wait_until("it is said", |s| problem(s.directory_problem.as_deref()))
        .await;
    // A later file is listed, and a valid one stays.
    fixture.write("b.wasm", "more junk");
    fixture
        .wait_refused("b.wasm", "not a WebAssembly file")
        .await;
    assert_eq!(handlers(&fixture.registry.snapshot()), ["x"]);
}

#[tokio::test]
async fn plugins_beyond_the_limit_are_named_and_displace_none() {
    let files: Vec<(String, String)> = (0..MAX_SERVING + 2)
        .map(|n| (format!("m{n:04}.wasm"), format!("plugin v1 h{n} end")))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (&**name, &**text))
        .collect();
    let fixture = PluginFixture::start(&files, options());
    fixture.plugins.ready().await;
    let n_serving = || fixture.registry.snapshot().handlers.len();
    assert_eq!(n_serving(), MAX_SERVING);
    fixture
        .wait_refused("m1001.wasm", "plugins serve already")
        .await;
    // The first by name, and it arrives last.
    fixture.write("a.wasm", V1);
    fixture
        .wait_refused("a.wasm", "plugins serve already")
        .await;
    let named = |text: &str| text.contains("a.wasm, m1000.wasm, m1001.wasm");
    fixture
        .wait_until("they are named", |s| {
            s.directory_problem.as_deref().is_some_and(named)
        })
        .await;
    assert_eq!(n_serving(), MAX_SERVING);
    // A serving plugin can be replaced, and a removed one frees its place.
    fixture.replace("m0000.wasm", "plugin v2 h0 end");
    fixture.wait_live("m0000.wasm", "plugin v2 h0 end").await;
    std::fs::remove_file(fixture.path("m0001.wasm")).expect("removed");
    fixture.wait_live("a.wasm", V1).await;
    assert_eq!(n_serving(), MAX_SERVING);
}

/// A directory of notes with this many crashes under the bytes of `text`.
fn journal_with_crashes(text: &str, n_crashes: usize) -> (tempfile::TempDir, Option<PathBuf>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for _ in 0..n_crashes {
        crash_under(dir.path(), Digest::of(text.as_bytes()));
    }
    let path = Some(dir.path().to_owned());
    (dir, path)
}

fn noting(load_journal: Option<PathBuf>) -> DirectoryOptions {
    DirectoryOptions {
        load_journal,
        ..options()
    }
}

/// The file must be older than the crashes.
fn written_before(files: &[(&str, &str)], options: DirectoryOptions) -> PluginFixture {
    let fixture = PluginFixture::start(&[], options);
    for (file, text) in files {
        let beside = fixture.path(".beside");
        std::fs::write(&beside, text).expect("a file");
        let opened = std::fs::File::options().write(true).open(&beside);
        let old = std::time::SystemTime::now() - Duration::from_secs(3600);
        let set = opened.and_then(|opened| opened.set_modified(old));
        set.expect("its time is set");
        std::fs::rename(&beside, fixture.path(file)).expect("a rename");
    }
    fixture
}

#[tokio::test]
async fn a_file_with_one_crash_is_loaded_and_cleared() {
    let (_dir, path) = journal_with_crashes(V1, 1);
    for _ in 0..3 {
        let fixture = written_before(&[("a.wasm", V1)], noting(path.clone()));
        fixture.wait_live("a.wasm", V1).await;
        fixture.plugins.stop().await;
    }
    // It was forgotten: one more is the first.
    crash_under(path.as_deref().expect("a path"), Digest::of(V1.as_bytes()));
    let fixture = written_before(&[("a.wasm", V1)], noting(path));
    fixture.wait_live("a.wasm", V1).await;
}

#[tokio::test]
async fn a_file_with_two_crashes_waits_for_a_touch() {
    let (_dir, path) = journal_with_crashes(V1, 2);
    let good = "plugin v1 y end";
    let files = [("a.wasm", V1), ("b.wasm", good)];
    let fixture = written_before(&files, noting(path));
    let snapshot = fixture.wait_refused("a.wasm", "crashed 2 times").await;
    let status = snapshot.plugin("a.wasm").expect("it is known");
    let digest = Digest::of(V1.as_bytes());
    let expected = format!(
        "a runner process crashed 2 times while it loaded these bytes (sha256 {digest}), so they are not loaded again; to try once more: touch {}, or remove the notes on these bytes from the directory `loads` in the cache directory",
        fixture.path("a.wasm").display()
    );
    assert_eq!(status.reason.as_deref(), Some(&*expected));
    fixture.wait_live("b.wasm", good).await;
    // The same bytes, written again.
    let bytes = std::fs::read(fixture.path("a.wasm")).expect("a file");
    std::fs::write(fixture.path("a.wasm"), bytes).expect("it is written again");
    fixture.wait_live("a.wasm", V1).await;
}

#[tokio::test]
async fn a_rejected_or_stopped_load_is_not_a_crash() {
    let (dir, path) = journal_with_crashes(V1, 0);
    let fixture = written_before(&[("a.wasm", "junk")], noting(path.clone()));
    fixture
        .wait_refused("a.wasm", "not a WebAssembly file")
        .await;
    drop(fixture);
    let stuck = ScriptedSandbox {
        stuck: true,
        ..ScriptedSandbox::default()
    };
    let fixture = PluginFixture::start_with(&[("a.wasm", V1)], noting(path), stuck);
    let compiling = |s: &crate::plugin::Snapshot| {
        s.plugin("a.wasm")
            .is_some_and(|status| status.state == PluginState::Compiling)
    };
    fixture.wait_until("it compiles", compiling).await;
    drop(fixture);
    for entry in walk(dir.path()) {
        assert!(entry.is_dir(), "{} is left", entry.display());
    }
}

fn walk(dir: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        found.push(entry.path());
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}

#[tokio::test]
async fn a_directory_replaced_by_an_empty_one_keeps_everything_serving() {
    let fixture = PluginFixture::start(&[("a.wasm", V1)], options());
    fixture.plugins.ready().await;
    let before = fixture.registry.snapshot();
    let (dir, aside) = (
        fixture.dir.path(),
        fixture.dir.path().with_extension("aside"),
    );
    std::fs::rename(dir, &aside).expect("a rename");
    std::fs::create_dir(dir).expect("a directory");
    fixture.write("placeholder.wasm", "");
    let empty = |text: &str| text.contains("was replaced by an empty one");
    let during = fixture
        .wait_until("it is said", |s| {
            s.directory_problem.as_deref().is_some_and(empty)
        })
        .await;
    assert_eq!(handlers(&during), ["x"]);
    std::fs::remove_dir_all(dir).expect("removed");
    std::fs::rename(&aside, dir).expect("a rename");
    let after = fixture
        .wait_until("it is back", |s| s.directory_problem.is_none())
        .await;
    assert!(std::sync::Arc::ptr_eq(&before.handlers, &after.handlers));
}

#[tokio::test]
async fn a_directory_that_stays_empty_retires_everything() {
    let impatient = DirectoryOptions {
        retire_after_swap: Duration::from_millis(100),
        ..options()
    };
    let fixture = PluginFixture::start(&[("a.wasm", V1)], impatient);
    fixture.plugins.ready().await;
    let (dir, aside) = (
        fixture.dir.path(),
        fixture.dir.path().with_extension("aside"),
    );
    std::fs::rename(dir, &aside).expect("a rename");
    std::fs::create_dir(dir).expect("a directory");
    fixture
        .wait_until("it is retired", |s| s.handlers.is_empty())
        .await;
    std::fs::remove_dir_all(aside).expect("removed");
}
