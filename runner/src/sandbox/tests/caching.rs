use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::guests::{attempt, guest, load, sandbox, small};
use crate::sandbox::{LoadError, SandboxConfig};
use crate::task::Outcome;

fn cached(dir: &Path) -> SandboxConfig {
    SandboxConfig {
        cache_dir: Some(dir.join("cache")),
        ..small()
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("cache")).expect("cache");
    let paths = entries.map(|entry| entry.expect("entry").path());
    let mut paths: Vec<PathBuf> = paths.filter(|p| p.extension().is_some()).collect();
    paths.sort();
    paths
}

async fn from_cache(config: SandboxConfig) -> bool {
    let sandbox = sandbox(config);
    let compiled = load(&sandbox, &guest("echo")).await.expect("load");
    let manifest = compiled.probe().await.expect("probe");
    let echo = compiled.handlers(&manifest, "guest").remove(0);
    let report = echo.call(attempt("[1]")).await;
    assert_eq!(
        report.outcome,
        Outcome::Complete {
            result: "[1]".into()
        }
    );
    compiled.from_cache()
}

#[tokio::test]
async fn compiled_code_is_found_again_by_the_next_process() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(!from_cache(cached(dir.path())).await);
    assert!(from_cache(cached(dir.path())).await);
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("cache")), 0o700);
    assert_eq!(mode(&dir.path().join("cache/key")), 0o600);
}

#[tokio::test]
async fn code_that_anything_touched_is_compiled_again() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(!from_cache(cached(dir.path())).await);
    let file = entries(dir.path()).remove(0);
    let good = std::fs::read(&file).expect("code");
    let last = good.len() - 1;
    for at in [0, 7, 8, 20, 39, 40, good.len() / 2, last] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&file, &bad).expect("write");
        assert!(!from_cache(cached(dir.path())).await, "flip at {at}");
        assert!(from_cache(cached(dir.path())).await, "repaired after {at}");
    }
    for length in [0, 8, 40, last] {
        std::fs::write(&file, &good[..length]).expect("write");
        assert!(!from_cache(cached(dir.path())).await, "cut at {length}");
    }
    // Code of another file under this file's name.
    let other = sandbox(cached(dir.path()));
    load(&other, &guest("count")).await.expect("load");
    let paths = entries(dir.path());
    let count = paths.iter().find(|path| **path != file).expect("two");
    std::fs::copy(count, &file).expect("copy");
    assert!(!from_cache(cached(dir.path())).await);
}

#[tokio::test]
async fn another_key_makes_all_of_it_worthless() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(!from_cache(cached(dir.path())).await);
    std::fs::remove_file(dir.path().join("cache/key")).expect("remove");
    assert!(!from_cache(cached(dir.path())).await);
}

#[tokio::test]
async fn code_signed_with_another_key_is_compiled_again() {
    let (dir, other) = (
        tempfile::tempdir().expect("dir"),
        tempfile::tempdir().expect("dir"),
    );
    for dir in [&dir, &other] {
        assert!(!from_cache(cached(dir.path())).await);
    }
    // A good entry of another machine, of the same file and engine.
    std::fs::copy(&entries(other.path())[0], &entries(dir.path())[0]).expect("copy");
    assert!(!from_cache(cached(dir.path())).await);
    // And the other way round: our entry, and the key exchanged beneath it.
    std::fs::copy(other.path().join("cache/key"), dir.path().join("cache/key")).expect("copy");
    assert!(!from_cache(cached(dir.path())).await);
}

#[tokio::test]
async fn links_and_pipes_are_not_taken_for_code_or_key() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(!from_cache(cached(dir.path())).await);
    let file = entries(dir.path()).remove(0);
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(&file, &elsewhere).expect("move");
    std::os::unix::fs::symlink(&elsewhere, &file).expect("link");
    assert!(!from_cache(cached(dir.path())).await, "a link to good code");
    assert!(from_cache(cached(dir.path())).await, "replaced by a file");
    std::fs::remove_file(&file).expect("remove");
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.expect("mkfifo").success());
    assert!(
        !from_cache(cached(dir.path())).await,
        "a pipe that nobody writes"
    );
    let key = dir.path().join("cache/key");
    std::fs::rename(&key, &elsewhere).expect("move");
    std::os::unix::fs::symlink(&elsewhere, &key).expect("link");
    assert!(!from_cache(cached(dir.path())).await, "a link to the key");
}

#[tokio::test]
async fn a_key_that_others_may_read_or_that_is_cut_is_not_used() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(!from_cache(cached(dir.path())).await);
    let key = dir.path().join("cache/key");
    let mode = |mode| {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("chmod");
    };
    mode(0o644);
    assert!(!from_cache(cached(dir.path())).await);
    mode(0o600);
    assert!(from_cache(cached(dir.path())).await);
    std::fs::write(&key, [0; 31]).expect("write");
    assert!(!from_cache(cached(dir.path())).await);
}

#[tokio::test]
async fn a_directory_that_is_open_to_others_is_not_used() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(!from_cache(cached(dir.path())).await);
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path().join("cache"), open).expect("chmod");
    assert!(!from_cache(cached(dir.path())).await);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_only_costs_time() {
    let mut config = small();
    config.cache_dir = Some(PathBuf::from("/proc/no-such-directory"));
    assert!(!from_cache(config).await);
}

#[tokio::test]
async fn the_oldest_entries_go_when_the_cache_is_full() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(!from_cache(cached(dir.path())).await);
    let size = std::fs::metadata(&entries(dir.path())[0])
        .expect("entry")
        .len();
    let config = || SandboxConfig {
        cache_bytes: size * 5 / 2,
        ..cached(dir.path())
    };
    for name in ["count", "loop", "recurse"] {
        load(&sandbox(config()), &guest(name)).await.expect("load");
    }
    assert!(entries(dir.path()).len() <= 2);
    assert!(!from_cache(config()).await, "the first was the oldest");
}

/// A script in place of the compiler.
fn compiler(dir: &Path, script: &str) -> SandboxConfig {
    let path = dir.join("compiler");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("chmod");
    SandboxConfig {
        compiler: Some(path),
        ..small()
    }
}

async fn refused(config: SandboxConfig) -> LoadError {
    let error = load(&sandbox(config), &guest("echo")).await.err();
    error.expect("must be refused")
}

#[tokio::test]
async fn a_compiler_that_hangs_is_stopped() {
    let dir = tempfile::tempdir().expect("dir");
    let config = SandboxConfig {
        compile_timeout: Duration::from_millis(100),
        ..compiler(dir.path(), "exec cat >/dev/null 2>&1 </dev/zero")
    };
    assert_eq!(
        refused(config).await,
        LoadError::CompileTimeout { seconds: 1 }
    );
}

#[tokio::test]
async fn a_compiler_that_dies_is_explained() {
    let dir = tempfile::tempdir().expect("dir");
    let killed = refused(compiler(dir.path(), "kill -9 $$")).await;
    assert!(
        matches!(&killed, LoadError::CompileKilled { reason } if reason.contains("signal")),
        "{killed}"
    );
    let no_thread = "echo 'Resource temporarily unavailable' >&2; exit 1";
    let no_thread = refused(compiler(dir.path(), no_thread)).await;
    assert!(
        matches!(no_thread, LoadError::CompileKilled { .. }),
        "{no_thread}"
    );
    let memory = "echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$";
    let memory = refused(compiler(dir.path(), memory)).await;
    assert_eq!(memory, LoadError::CompileMemory { mib: 1024 });
    let said = refused(compiler(dir.path(), "echo 'oh no' >&2; exit 1")).await;
    assert!(said.to_string().contains("oh no"), "{said}");
    let text = "cat >/dev/null; printf 'ERR compile\\ntoo odd'";
    let error = refused(compiler(dir.path(), text)).await;
    assert_eq!(error, LoadError::Compile("too odd".into()));
    let silent = refused(compiler(dir.path(), "exit 0")).await;
    assert!(matches!(silent, LoadError::Compile(_)));
    // What no compiler of ours made is not loaded, even from the child.
    let junk = refused(compiler(dir.path(), "cat >/dev/null; printf 'OK\\njunk'")).await;
    assert!(matches!(junk, LoadError::Compile(_)));
    let mut none = small();
    none.compiler = Some(dir.path().join("nothing"));
    assert!(matches!(refused(none).await, LoadError::Compiler { .. }));
}

#[tokio::test]
async fn the_childs_environment_and_arguments_hold_nothing_of_ours() {
    let dir = tempfile::tempdir().expect("dir");
    let out = dir.path().join("out");
    let script = format!(
        "cat >/dev/null; echo $1 >{0}; env >>{0}; exit 1",
        out.display()
    );
    refused(compiler(dir.path(), &script)).await;
    let said = std::fs::read_to_string(out).expect("out");
    let ours = ["RAYON_NUM_THREADS", "RUST_MIN_STACK", "MALLOC_ARENA_MAX"];
    // What a shell sets for itself.
    let shells = ["PWD", "OLDPWD", "_", "SHLVL"];
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("compile-plugin"));
    for line in lines {
        let name = line.split('=').next().unwrap_or_default();
        assert!(ours.contains(&name) || shells.contains(&name), "{line}");
    }
}
