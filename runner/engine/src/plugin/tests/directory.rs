//! Changes of plugin files, with a scripted sandbox: every test changes real files and
//! waits for the registry.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use super::support::{PluginFixture, ScriptedSandbox, handlers, make_fifo, options};
use crate::plugin::options::DirectoryOptions;
use crate::plugin::status::PluginState;
use pgtq_sandbox::LoadError;

const V1: &str = "plugin v1 x end";
const V2: &str = "plugin v2 x end";

fn compiled(fixture: &PluginFixture) -> Vec<String> {
    fixture.compiled.lock().expect("not poisoned").clone()
}

fn state(fixture: &PluginFixture, file: &str) -> Option<PluginState> {
    fixture.registry.snapshot().plugin(file).map(|s| s.state)
}

#[tokio::test]
async fn files_present_at_the_start_are_live_when_the_directory_is_ready() {
    let fixture = PluginFixture::start(&[("a.wasm", V1), ("b.wasm", "junk")], options());
    fixture.plugins.ready().await;
    assert_eq!(state(&fixture, "a.wasm"), Some(PluginState::Live));
    assert_eq!(state(&fixture, "b.wasm"), Some(PluginState::Refused));
}

#[tokio::test]
async fn a_dropped_in_file_goes_live_and_a_replaced_one_is_swapped() {
    let fixture = PluginFixture::start(&[], options());
    fixture.plugins.ready().await;
    fixture.write("a.wasm", V1);
    let first = fixture.wait_live("a.wasm", V1).await;
    fixture.replace("a.wasm", V2);
    let second = fixture.wait_live("a.wasm", V2).await;
    assert_ne!(first.handlers["x"].digest(), second.handlers["x"].digest());
    let status = second.plugin("a.wasm").expect("it is known");
    let plugin = status.plugin.as_ref().expect("it said so");
    assert_eq!(plugin.version, "v2");
}

#[tokio::test]
async fn polling_alone_is_enough() {
    let poll_only = DirectoryOptions {
        poll_only: true,
        ..options()
    };
    let fixture = PluginFixture::start(&[], poll_only);
    fixture.write("a.wasm", V1);
    fixture.wait_live("a.wasm", V1).await;
}

/// The next periodic scan is an hour away: only events can be the cause.
#[tokio::test]
async fn events_alone_are_enough() {
    let no_rescans = DirectoryOptions {
        rescan_every: Duration::from_secs(3600),
        ..options()
    };
    let fixture = PluginFixture::start(&[], no_rescans);
    fixture.plugins.ready().await;
    fixture.write("a.wasm", V1);
    fixture.wait_live("a.wasm", V1).await;
    std::fs::remove_file(fixture.path("a.wasm")).expect("removed");
    fixture
        .wait_until("it is retired", |s| s.handlers.is_empty())
        .await;
}

#[tokio::test]
async fn the_same_bytes_again_are_not_compiled_again() {
    let fixture = PluginFixture::start(&[("a.wasm", V1)], options());
    fixture.plugins.ready().await;
    let before = fixture.registry.snapshot();
    fixture.write("a.wasm", V1);
    fixture.replace("a.wasm", V1);
    fixture.plugins.rescan().await;
    assert_eq!(compiled(&fixture), ["v1"]);
    let after = fixture.registry.snapshot();
    assert!(Arc::ptr_eq(&before.handlers, &after.handlers));
    assert_eq!(state(&fixture, "a.wasm"), Some(PluginState::Live));
}

#[tokio::test]
async fn a_bad_file_is_refused_with_its_reason_while_the_old_version_serves() {
    let fixture = PluginFixture::start(&[("a.wasm", V1)], options());
    fixture.plugins.ready().await;
    let serving = fixture.registry.snapshot().handlers["x"].digest();
    for (bytes, reason) in [
        ("hello, I am a text", "not a WebAssembly file"),
        ("plugin v2 x", "cut off at byte 11"),
        ("", "not a WebAssembly file"),
    ] {
        fixture.write("a.wasm", bytes);
        let snapshot = fixture.wait_refused("a.wasm", reason).await;
        assert_eq!(snapshot.handlers["x"].digest(), serving);
        let status = snapshot.plugin("a.wasm").expect("it is known");
        assert_eq!(status.serving, serving);
        assert_ne!(status.digest, serving);
    }
    fixture.write("a.wasm", &"x".repeat(1001));
    fixture.wait_refused("a.wasm", "has 1001 bytes").await;
    fixture.write("a.wasm", V1);
    fixture.wait_live("a.wasm", V1).await;
    assert_eq!(compiled(&fixture), ["v1"]);
}

/// The file never settles and is tried anyway, many times: half of it must never count as
/// a rejection.
#[tokio::test]
async fn a_half_written_file_neither_replaces_a_version_nor_is_rejected() {
    let impatient = DirectoryOptions {
        settle: Duration::from_secs(30),
        settle_at_most: Duration::from_millis(1),
        ..options()
    };
    let fixture = PluginFixture::start(&[("a.wasm", V1)], impatient);
    fixture.plugins.ready().await;
    let v1 = fixture.registry.snapshot().handlers["x"].digest();
    for length in 0..V2.len() {
        fixture.write("a.wasm", &V2[..length]);
        fixture.plugins.rescan().await;
        let snapshot = fixture.registry.snapshot();
        let status = snapshot.plugin("a.wasm").expect("it is known");
        assert_eq!(snapshot.handlers["x"].digest(), v1);
        assert_ne!(status.state, PluginState::Refused, "{status:?}");
    }
    fixture.write("a.wasm", V2);
    fixture.wait_live("a.wasm", V2).await;
}

#[tokio::test]
async fn a_deleted_file_retires_its_handlers_and_may_come_back() {
    let fixture = PluginFixture::start(&[("a.wasm", V1)], options());
    fixture.plugins.ready().await;
    std::fs::remove_file(fixture.path("a.wasm")).expect("removed");
    fixture.plugins.rescan().await;
    assert!(fixture.registry.snapshot().handlers.is_empty());
    assert_eq!(state(&fixture, "a.wasm"), Some(PluginState::Retired));
    fixture.write("a.wasm", V1);
    fixture.wait_live("a.wasm", V1).await;
}

/// Between the two renames the file does not exist; no gap may show.
#[tokio::test]
async fn moving_a_file_away_and_replacing_it_makes_no_gap() {
    let patient = DirectoryOptions {
        retire_after: Duration::from_secs(3600),
        ..options()
    };
    let fixture = PluginFixture::start(&[("a.wasm", V1)], patient);
    fixture.plugins.ready().await;
    let gap = tokio::spawn({
        let (registry, mut watch) = (fixture.registry.clone(), fixture.registry.watch());
        async move {
            while watch.changed().await.is_ok() {
                if registry.snapshot().handlers.is_empty() {
                    return true;
                }
            }
            false
        }
    });
    for round in 0..10 {
        let text = format!("plugin r{round} x end");
        std::fs::rename(fixture.path("a.wasm"), fixture.path("old")).expect("a rename");
        fixture.write(".new", &text);
        std::fs::rename(fixture.path(".new"), fixture.path("a.wasm")).expect("a rename");
        fixture.wait_live("a.wasm", &text).await;
    }
    assert!(!gap.is_finished(), "there was a moment without handlers");
    gap.abort();
}

#[tokio::test]
async fn a_renamed_file_keeps_serving_without_a_compilation() {
    let patient = DirectoryOptions {
        retire_after: Duration::from_secs(3600),
        ..options()
    };
    let fixture = PluginFixture::start(&[("a.wasm", V1)], patient);
    fixture.plugins.ready().await;
    std::fs::rename(fixture.path("a.wasm"), fixture.path("b.wasm")).expect("a rename");
    let after = fixture.wait_live("b.wasm", V1).await;
    assert_eq!(handlers(&after), ["x"]);
    assert!(after.plugin("a.wasm").is_none());
    assert_eq!(compiled(&fixture), ["v1"]);
}

#[tokio::test]
async fn of_two_files_with_one_handler_the_first_by_name_serves_at_the_start() {
    let files = [
        ("c.wasm", "plugin c x end"),
        ("a.wasm", "plugin a x end"),
        ("b.wasm", "plugin b y x end"),
    ];
    let fixture = PluginFixture::start(&files, options());
    fixture.plugins.ready().await;
    assert_eq!(handlers(&fixture.registry.snapshot()), ["x"]);
    assert_eq!(state(&fixture, "a.wasm"), Some(PluginState::Live));
    for file in ["b.wasm", "c.wasm"] {
        let reason = "handler `x` is already served by a.wasm";
        fixture.wait_refused(file, reason).await;
    }
}

#[tokio::test]
async fn the_rejected_one_of_two_takes_over_when_the_other_is_removed() {
    let fixture = PluginFixture::start(&[("b.wasm", V1)], options());
    fixture.plugins.ready().await;
    fixture.write("a.wasm", "plugin a x y end");
    fixture.wait_refused("a.wasm", "served by b.wasm").await;
    // A new version of the serving file keeps the name.
    fixture.replace("b.wasm", V2);
    fixture.wait_live("b.wasm", V2).await;
    fixture.plugins.rescan().await;
    assert_eq!(state(&fixture, "a.wasm"), Some(PluginState::Refused));

    std::fs::remove_file(fixture.path("b.wasm")).expect("removed");
    fixture.plugins.rescan().await;
    assert_eq!(handlers(&fixture.registry.snapshot()), ["x", "y"]);
    assert_eq!(state(&fixture, "a.wasm"), Some(PluginState::Live));
}

#[tokio::test]
async fn a_handler_can_move_from_one_file_to_another() {
    let files = [
        ("a.wasm", "plugin v1 x y end"),
        ("b.wasm", "plugin v1 z end"),
    ];
    let fixture = PluginFixture::start(&files, options());
    fixture.plugins.ready().await;
    fixture.replace("b.wasm", "plugin v2 y z end");
    fixture.wait_refused("b.wasm", "handler `y`").await;
    fixture.replace("a.wasm", "plugin v2 x end");
    fixture.wait_live("b.wasm", "plugin v2 y z end").await;
    assert_eq!(handlers(&fixture.registry.snapshot()), ["x", "y", "z"]);
}

#[tokio::test]
async fn other_files_are_rejected_or_ignored_and_never_block() {
    let fixture = PluginFixture::start(
        &[(".a.wasm", V1), ("a.wasm~", V1), ("a.wasm.tmp", V1)],
        options(),
    );
    std::fs::create_dir(fixture.path("dir.wasm")).expect("a directory");
    make_fifo(&fixture.path("pipe.wasm"));
    symlink("/dev/zero", fixture.path("zero.wasm")).expect("a link");
    symlink("nowhere", fixture.path("dangling.wasm")).expect("a link");
    fixture.write("good.wasm", V1);
    fixture.wait_live("good.wasm", V1).await;
    fixture.wait_refused("pipe.wasm", "a named pipe").await;
    fixture.wait_refused("zero.wasm", "a device").await;
    fixture.wait_refused("dir.wasm", "a directory").await;
    fixture
        .wait_refused("dangling.wasm", "a link to nothing")
        .await;
    let snapshot = fixture.registry.snapshot();
    let files: Vec<&str> = snapshot.plugins.iter().map(|p| p.file.as_str()).collect();
    let all = [
        "dangling.wasm",
        "dir.wasm",
        "good.wasm",
        "pipe.wasm",
        "zero.wasm",
    ];
    assert_eq!(files, all);
}

/// As Kubernetes mounts files: the names are links into a hidden link.
#[tokio::test]
async fn a_swapped_link_is_a_new_version() {
    let fixture = PluginFixture::start(&[], options());
    fixture.plugins.ready().await;
    for (version, text) in [("..1", V1), ("..2", V2)] {
        std::fs::create_dir(fixture.path(version)).expect("a directory");
        fixture.write(&format!("{version}/a.wasm"), text);
    }
    symlink("..1", fixture.path("..data")).expect("a link");
    symlink("..data/a.wasm", fixture.path("a.wasm")).expect("a link");
    fixture.wait_live("a.wasm", V1).await;
    symlink("..2", fixture.path("..tmp")).expect("a link");
    std::fs::rename(fixture.path("..tmp"), fixture.path("..data")).expect("a rename");
    fixture.wait_live("a.wasm", V2).await;
}

#[tokio::test]
async fn a_hundred_replacements_end_on_the_last() {
    let fixture = PluginFixture::start(&[("a.wasm", V1)], options());
    fixture.plugins.ready().await;
    for n in 0..100 {
        fixture.replace("a.wasm", &format!("plugin n{n} x end"));
        tokio::task::yield_now().await;
    }
    fixture.wait_live("a.wasm", "plugin n99 x end").await;
    assert_eq!(handlers(&fixture.registry.snapshot()), ["x"]);
}

#[tokio::test]
async fn a_compilation_killed_once_by_this_machine_is_retried() {
    let reason = "it ended with signal: 9 (SIGKILL)".to_owned();
    for error in [
        LoadError::CompileTimeout { seconds: 1 },
        LoadError::CompileMemory { mib: 1 },
        LoadError::CompileKilled {
            reason: reason.clone(),
        },
        LoadError::CompilerFailed { reason },
    ] {
        let script = ScriptedSandbox::unlucky("v2", error);
        let fixture = PluginFixture::start_with(&[("a.wasm", V1)], options(), script);
        fixture.plugins.ready().await;
        fixture.replace("a.wasm", V2);
        fixture.wait_live("a.wasm", V2).await;
        assert_eq!(compiled(&fixture), ["v1", "v2"]);
    }
}

#[tokio::test]
async fn a_missing_directory_keeps_everything_serving_and_recovers() {
    let fixture = PluginFixture::start(&[("a.wasm", V1)], options());
    fixture.plugins.ready().await;
    let (dir, aside) = (
        fixture.dir.path(),
        fixture.dir.path().with_extension("aside"),
    );
    std::fs::rename(dir, &aside).expect("a rename");
    let snapshot = fixture
        .wait_until("the problem is shown", |s| s.directory_problem.is_some())
        .await;
    assert_eq!(handlers(&snapshot), ["x"]);
    // Another directory of the same name, with another file.
    std::fs::create_dir(dir).expect("a directory");
    fixture.write("a.wasm", V2);
    let snapshot = fixture.wait_live("a.wasm", V2).await;
    assert_eq!(snapshot.directory_problem, None);
    std::fs::remove_dir_all(aside).expect("removed");
}

#[tokio::test]
async fn a_directory_that_does_not_exist_yet_is_ready_and_empty() {
    let fixture = PluginFixture::start(&[], options());
    std::fs::remove_dir(fixture.dir.path()).expect("removed");
    fixture.plugins.ready().await;
    fixture
        .wait_until("the problem is shown", |s| s.directory_problem.is_some())
        .await;
    std::fs::create_dir(fixture.dir.path()).expect("a directory");
    fixture.write("a.wasm", V1);
    fixture.wait_live("a.wasm", V1).await;
}

#[tokio::test]
async fn live_plugins_stay_live_after_watching_stops() {
    let fixture = PluginFixture::start(&[("a.wasm", V1)], options());
    fixture.plugins.ready().await;
    fixture.plugins.stop().await;
    assert_eq!(handlers(&fixture.registry.snapshot()), ["x"]);
}

/// When the name came free, the other file was not there to take it.
#[tokio::test]
async fn a_rejected_file_absent_when_its_name_came_free_takes_it_later() {
    let patient = DirectoryOptions {
        retire_after: Duration::from_secs(3600),
        ..options()
    };
    let fixture = PluginFixture::start(&[("a.wasm", "plugin a x y end")], patient);
    fixture.plugins.ready().await;
    fixture.write("b.wasm", "plugin b x end");
    fixture.wait_refused("b.wasm", "served by a.wasm").await;
    std::fs::rename(fixture.path("b.wasm"), fixture.path("aside")).expect("a rename");
    fixture.replace("a.wasm", "plugin a y end");
    fixture.wait_live("a.wasm", "plugin a y end").await;
    std::fs::rename(fixture.path("aside"), fixture.path("b.wasm")).expect("a rename");
    fixture.wait_live("b.wasm", "plugin b x end").await;
}

/// The unsettled file comes first by name and is never valid.
#[tokio::test]
async fn a_file_that_never_settles_does_not_delay_the_start() {
    let impatient = DirectoryOptions {
        settle: Duration::from_secs(3600),
        settle_at_most: Duration::from_millis(20),
        ..options()
    };
    let fixture = PluginFixture::start(&[("a.wasm", "plugin"), ("b.wasm", V1)], impatient);
    fixture.wait_live("b.wasm", V1).await;
    fixture.plugins.ready().await;
    assert_ne!(state(&fixture, "a.wasm"), Some(PluginState::Refused));
}
