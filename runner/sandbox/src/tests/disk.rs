//! Files: granted files are available, no others are, and everything has a limit.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::reach::{Scene, directories};
use pgtq_task::Grant;

pub(super) fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn put(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).expect("a file");
}

/// Removes paths of this machine from the shown text.
fn shown(answers: &[String], logs: &[String], dir: &Path) -> String {
    let text = format!("{}\n---\n{}", answers.join("\n"), logs.join("\n"));
    text.replace(&dir.display().to_string(), "<dir>")
}

#[tokio::test]
async fn granted_directories_are_readable_and_writable_as_granted() {
    let (data, out) = (dir(), dir());
    put(data.path(), "in.txt", "hello");
    let scene = Scene {
        needs: json!({"files": ["/data", "/out"]}),
        grant: directories(&[("/data", data.path(), false), ("/out", out.path(), true)]),
        ..Scene::default()
    };
    let (answers, logs) = scene
        .run(json!([
            {"read": "/data/in.txt"},
            {"list": "/data"},
            {"write": ["/out/a.txt", "one"]},
            {"append": ["/out/a.txt", " two"]},
            {"read": "/out/a.txt"},
            {"make_dir": "/out/sub"},
            {"rename": ["/out/a.txt", "/out/sub/b.txt"]},
            {"hard_link": ["/out/sub/b.txt", "/out/c.txt"]},
            {"list": "/out"},
            {"remove": "/out/c.txt"},
        ]))
        .await;
    let expected = [
        "hello",
        "in.txt",
        "done",
        "done",
        "one two",
        "done",
        "done",
        "done",
        "c.txt sub",
        "done",
    ];
    assert_eq!(answers, expected);
    assert!(logs.is_empty(), "{logs:?}");
    let written = fs::read_to_string(out.path().join("sub/b.txt")).expect("a file");
    assert_eq!(written, "one two");
}

#[tokio::test]
async fn a_directory_granted_for_reading_is_never_changed() {
    let data = dir();
    put(data.path(), "in.txt", "hello");
    let scene = Scene {
        needs: json!({"files": ["/data"]}),
        grant: directories(&[("/data", data.path(), false)]),
        ..Scene::default()
    };
    let (answers, logs) = scene
        .run(json!([
            {"write": ["/data/in.txt", "bye"]},
            {"write": ["/data/new.txt", "bye"]},
            {"append": ["/data/in.txt", "bye"]},
            {"set_len": ["/data/in.txt", 0]},
            {"make_dir": "/data/sub"},
            {"remove": "/data/in.txt"},
            {"rename": ["/data/in.txt", "/data/out.txt"]},
            {"hard_link": ["/data/in.txt", "/data/two.txt"]},
            {"symlink": ["in.txt", "/data/link"]},
            {"list": "/data"},
            {"read": "/data/in.txt"},
        ]))
        .await;
    let (refused, read) = answers.split_at(9);
    for answer in refused {
        assert!(answer.starts_with("PermissionDenied"), "{answers:?}");
    }
    assert_eq!(read, ["in.txt", "hello"]);
    let line = format!(
        "files.\"/data\" = {{ dir = \"{}\", write = true }}",
        data.path().display()
    );
    assert!(logs.contains(&line), "{logs:?}");
}

#[tokio::test]
async fn an_ungranted_directory_is_missing_and_the_log_says_what_to_write() {
    let data = dir();
    put(data.path(), "in.txt", "hello");
    let scene = Scene {
        needs: json!({"files": ["/data", "/gone", "/odd \"name\"\n"]}),
        grant: directories(&[
            ("/gone", &data.path().join("gone"), false),
            // Granted, but not requested.
            ("/other", data.path(), true),
        ]),
        ..Scene::default()
    };
    let (answers, logs) = scene
        .run(json!([
            {"read": "/data/in.txt"},
            {"read": "/gone/in.txt"},
            {"read": "/other/in.txt"},
            {"write": ["/other/in.txt", "bye"]},
        ]))
        .await;
    insta::assert_snapshot!(shown(&answers, &logs, data.path()));
}

#[tokio::test]
async fn a_handler_without_file_needs_sees_no_files_and_no_log_lines() {
    let data = dir();
    put(data.path(), "in.txt", "hello");
    let scene = Scene {
        grant: directories(&[("/data", data.path(), true)]),
        ..Scene::default()
    };
    let steps = json!([{"read": "/data/in.txt"}, {"read": "/etc/passwd"}, {"list": "/"}]);
    let (answers, logs) = scene.run(steps).await;
    for answer in &answers {
        assert!(answer.starts_with("NotFound"), "{answers:?}");
    }
    assert!(logs.is_empty(), "{logs:?}");
}

#[tokio::test]
async fn a_grant_takes_effect_with_the_next_attempt() {
    let data = dir();
    put(data.path(), "in.txt", "hello");
    let scene = Scene {
        needs: json!({"files": ["/data"]}),
        ..Scene::default()
    };
    let reach = scene.set().await;
    let steps = json!([{"read": "/data/in.txt"}]);
    let (answers, _) = reach.run(steps.clone()).await;
    assert!(answers[0].starts_with("NotFound"), "{answers:?}");
    reach.change_grant(directories(&[("/data", data.path(), false)]));
    assert_eq!(reach.run(steps.clone()).await.0, ["hello"]);
    reach.change_grant(Grant::default());
    let (answers, _) = reach.run(steps).await;
    assert!(answers[0].starts_with("NotFound"), "{answers:?}");
}

#[tokio::test]
async fn no_path_leads_out_of_the_directory() {
    use std::os::unix::fs::symlink;
    let outer = dir();
    put(outer.path(), "secret.txt", "secret");
    let data = outer.path().join("data");
    fs::create_dir_all(data.join("inner")).expect("a directory");
    put(&data, "in.txt", "hello");
    symlink("../secret.txt", data.join("out")).expect("a link");
    symlink(outer.path().join("secret.txt"), data.join("absolute")).expect("a link");
    symlink("..", data.join("up")).expect("a link");
    symlink("in.txt", data.join("within")).expect("a link");
    let secret = outer.path().join("secret.txt").display().to_string();
    let scene = Scene {
        needs: json!({"files": ["/data"]}),
        grant: directories(&[("/data", &data, true)]),
        ..Scene::default()
    };
    let (answers, logs) = scene
        .run(json!([
            {"read": "/data/within"},
            {"read": "/data/../secret.txt"},
            {"read": "/data/inner/../../secret.txt"},
            {"read": secret},
            {"read": "/etc/passwd"},
            {"read": "/data/out"},
            {"read": "/data/absolute"},
            {"read": "/data/up/secret.txt"},
            {"list": "/data/up"},
            {"write": ["/data/out", "mine"]},
            {"write": ["/data/absolute", "mine"]},
            {"write": ["/data/up/new.txt", "mine"]},
            {"write": ["/data/../new.txt", "mine"]},
            {"make_dir": "/data/../new"},
            {"rename": ["/data/in.txt", "/data/../new.txt"]},
            {"rename": ["/data/../secret.txt", "/data/mine.txt"]},
            {"hard_link": ["/data/../secret.txt", "/data/mine.txt"]},
            {"hard_link": ["/data/in.txt", "/data/up/new.txt"]},
            {"remove": "/data/up/secret.txt"},
            {"symlink": ["../secret.txt", "/data/new"]},
            {"symlink": ["/etc/passwd", "/data/new"]},
            {"symlink": ["in.txt", "/data/../new"]},
        ]))
        .await;
    insta::assert_snapshot!(shown(&answers, &logs, outer.path()));
    let names = |dir: &Path| fs::read_dir(dir).expect("a directory").count();
    assert_eq!(names(outer.path()), 2, "something was made outside");
    assert_eq!(names(&data), 6, "something was made of what is outside");
    let kept = fs::read_to_string(outer.path().join("secret.txt")).expect("a file");
    assert_eq!(kept, "secret");
}

#[tokio::test]
async fn open_files_are_denied_beyond_the_limit() {
    let data = dir();
    put(data.path(), "in.txt", "hello");
    let scene = Scene {
        needs: json!({"files": ["/data"]}),
        grant: directories(&[("/data", data.path(), false)]),
        ..Scene::default()
    };
    let reach = scene.set().await;
    let many = json!([
        {"open_many": ["/data/in.txt", 1_000]},
        {"read": "/data/in.txt"},
    ]);
    let (answers, logs) = reach.run(many).await;
    insta::assert_snapshot!("open_files", shown(&answers, &logs, data.path()));
    let many = json!([{"list_many": ["/data", 1_000]}]);
    let (answers, logs) = reach.run(many).await;
    insta::assert_snapshot!("open_listings", shown(&answers, &logs, data.path()));
    // An attempt's handles are free again after it.
    assert_eq!(
        reach.run(json!([{"read": "/data/in.txt"}])).await.0,
        ["hello"]
    );
}

#[tokio::test]
async fn a_pipe_in_the_directory_blocks_nothing() {
    let data = dir();
    let pipe = data.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let scene = Scene {
        needs: json!({"files": ["/data"]}),
        grant: directories(&[("/data", data.path(), true)]),
        ..Scene::default()
    };
    let steps = json!([{"read": "/data/pipe"}, {"append": ["/data/pipe", "x"]}]);
    let (answers, _) = scene.run(steps).await;
    for answer in &answers {
        assert!(answer.starts_with("PermissionDenied"), "{answers:?}");
    }
}

/// Under another name a link leads somewhere else for programs outside that follow it.
#[tokio::test]
async fn links_and_special_files_can_be_removed_but_not_moved_or_linked() {
    let data = dir();
    put(data.path(), "in.txt", "hello");
    let path = |name: &str| data.path().join(name);
    std::fs::create_dir(path("d")).expect("a directory");
    for (to, name) in [
        ("/etc/passwd", "out"),
        ("in.txt", "inside"),
        ("d", "dir"),
        ("/etc/passwd", "d/out"),
    ] {
        std::os::unix::fs::symlink(to, path(name)).expect("a link");
    }
    let made = std::process::Command::new("mkfifo")
        .arg(path("pipe"))
        .status();
    assert!(made.expect("mkfifo runs").success());
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
    let scene = Scene {
        needs: json!({"files": ["/data"]}),
        grant: directories(&[("/data", data.path(), true)]),
        ..Scene::default()
    };
    let reach = scene.set().await;
    let names = [
        "out", "inside", "dir", "dir/", "d/out", "dir/out", "d/../out", "pipe", "socket",
    ];
    for name in names {
        let steps = json!([
            {"rename": [format!("/data/{name}"), "/data/new"]},
            {"hard_link": [format!("/data/{name}"), "/data/new"]},
        ]);
        let (answers, _) = reach.run(steps).await;
        for answer in &answers {
            assert!(
                answer.starts_with("PermissionDenied"),
                "{name}: {answers:?}"
            );
        }
        assert!(path("new").symlink_metadata().is_err(), "{name}");
    }
    // Files and directories can still be moved, from beneath a link, too.
    put(&path("d"), "file", "x");
    let steps = json!([
        {"rename": ["/data/dir/file", "/data/d/moved"]},
        {"hard_link": ["/data/d/moved", "/data/second"]},
        {"rename": ["/data/d", "/data/e"]},
        {"read": "/data/second"},
        {"remove": "/data/out"},
    ]);
    let (answers, _) = reach.run(steps).await;
    assert_eq!(answers[3], "x", "{answers:?}");
    assert!(
        path("e/moved").is_file() && !path("d").exists(),
        "{answers:?}"
    );
    assert!(path("out").symlink_metadata().is_err(), "{answers:?}");
}

#[tokio::test]
async fn only_the_written_directory_is_suggested_for_writing() {
    let (one, two) = (dir(), dir());
    let scene = Scene {
        needs: json!({"files": ["/one", "/two"]}),
        grant: directories(&[("/one", one.path(), false), ("/two", two.path(), false)]),
        ..Scene::default()
    };
    let (answers, logs) = scene.run(json!([{"write": ["/two/x", "x"]}])).await;
    assert!(answers[0].starts_with("PermissionDenied"), "{answers:?}");
    let logs = logs.join("\n");
    assert!(logs.contains(r#"files."/two" = {"#), "{logs}");
    assert!(!logs.contains("/one"), "{logs}");
}
