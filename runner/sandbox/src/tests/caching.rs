use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::guests::{attempt, guest, load, sandbox, small};
use crate::compile::child;
use crate::compiler::Compiler;
use crate::config::SandboxConfig;
use crate::error::LoadError;
use crate::private::user;
use pgtq_task::Outcome;

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
async fn compiled_code_is_reused_by_the_next_process() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(!from_cache(cached(dir.path())).await);
    assert!(from_cache(cached(dir.path())).await);
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("cache")), 0o700);
    assert_eq!(mode(&dir.path().join("cache/key")), 0o600);
}

#[tokio::test]
async fn modified_code_is_compiled_again() {
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
async fn a_new_key_invalidates_the_whole_cache() {
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
    // A valid entry of another machine, of the same file and engine.
    std::fs::copy(&entries(other.path())[0], &entries(dir.path())[0]).expect("copy");
    assert!(!from_cache(cached(dir.path())).await);
    // And the reverse: our entry with a replaced key.
    std::fs::copy(other.path().join("cache/key"), dir.path().join("cache/key")).expect("copy");
    assert!(!from_cache(cached(dir.path())).await);
}

#[tokio::test]
async fn links_and_pipes_are_not_used_as_code_or_key() {
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
        "a pipe without a writer"
    );
    let key = dir.path().join("cache/key");
    std::fs::rename(&key, &elsewhere).expect("move");
    std::os::unix::fs::symlink(&elsewhere, &key).expect("link");
    assert!(!from_cache(cached(dir.path())).await, "a link to the key");
}

#[tokio::test]
async fn a_readable_or_truncated_key_is_not_used() {
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

/// As Kubernetes mounts an `emptyDir`, with and without `fsGroup`.
#[tokio::test]
async fn a_shared_directory_is_used_through_a_private_one() {
    for mode in [0o777, 0o2775, 0o755] {
        let dir = tempfile::tempdir().expect("dir");
        let cache = dir.path().join("cache");
        std::fs::create_dir(&cache).expect("mkdir");
        let open = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&cache, open).expect("chmod");
        assert!(!from_cache(cached(dir.path())).await, "{mode:o}");
        assert!(from_cache(cached(dir.path())).await, "{mode:o}");
        let inside = cache.join(format!("pgtq-{}", user()));
        let inside = std::fs::metadata(inside).expect("made");
        assert_eq!(inside.permissions().mode() & 0o777, 0o700);
    }
}

/// A home directory is private, too.
#[tokio::test]
async fn other_files_in_the_directory_are_left_alone() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(!from_cache(cached(dir.path())).await);
    let cache = dir.path().join("cache");
    let file = |name: &str| {
        let path = cache.join(name);
        std::fs::write(&path, "x").expect("write");
        let file = std::fs::File::options().write(true).open(&path);
        let old = std::time::SystemTime::UNIX_EPOCH;
        file.and_then(|file| file.set_modified(old)).expect("time");
        path
    };
    std::fs::create_dir(cache.join("loads")).expect("mkdir");
    let (theirs, ours) = (file("thesis.txt"), file(".pgtq-unfinished-abc"));
    load(&sandbox(cached(dir.path())), &guest("count"))
        .await
        .expect("load");
    assert!(theirs.exists(), "a file that the cache did not make");
    assert!(!ours.exists(), "an unfinished file of a process that died");
    assert_eq!(entries(dir.path()).len(), 3, "{:?}", entries(dir.path()));
}

/// The entry carries a valid MAC, and the engine rejects it.
#[tokio::test]
async fn unloadable_cached_code_is_compiled_again() {
    let dir = tempfile::tempdir().expect("dir");
    let bytes = guest("echo");
    let sandbox = sandbox(cached(dir.path()));
    let digest = load(&sandbox, &bytes).await.expect("load").digest();
    let cache = crate::compile::cache::Cache::open(
        &dir.path().join("cache"),
        1 << 20,
        &crate::engine::compiling().expect("engine"),
    );
    cache.expect("it opens").put(digest, b"junk");
    let again = load(&sandbox, &bytes).await.expect("load");
    assert!(!again.from_cache());
    assert!(load(&sandbox, &bytes).await.expect("load").from_cache());
}

#[tokio::test]
async fn an_unwritable_cache_only_costs_time() {
    let mut config = small();
    config.cache_dir = Some(PathBuf::from("/proc/no-such-directory"));
    assert!(!from_cache(config).await);
}

#[tokio::test]
async fn the_oldest_entries_are_removed_when_the_cache_is_full() {
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
        compiler: Some(Compiler::at(path)),
        ..small()
    }
}

/// A script that sends the right greeting, reads the file and answers.
fn answering(dir: &Path, answer: &str) -> SandboxConfig {
    let greeting = child::greeting().expect("an engine");
    compiler(
        dir,
        &format!("cat >/dev/null; printf '{greeting}'; {answer}"),
    )
}

async fn refused(config: SandboxConfig) -> LoadError {
    let error = load(&sandbox(config), &guest("echo")).await.err();
    error.expect("must be refused")
}

#[tokio::test]
async fn a_hanging_compiler_is_stopped() {
    let dir = tempfile::tempdir().expect("dir");
    let config = SandboxConfig {
        compile_timeout: Duration::from_millis(10),
        ..compiler(dir.path(), "exec cat >/dev/null 2>&1 </dev/zero")
    };
    assert_eq!(
        refused(config).await,
        LoadError::CompileStalled { seconds: 1 }
    );
}

#[tokio::test]
async fn only_the_compilers_own_answer_condemns_a_file() {
    let dir = tempfile::tempdir().expect("dir");
    for (answer, expected) in [
        (
            "printf 'ERR compile\\ntoo much'",
            LoadError::Compile("too much".into()),
        ),
        (
            "printf 'ERR invalid 7\\nunknown opcode'",
            LoadError::Invalid {
                at: 7,
                reason: "unknown opcode".into(),
            },
        ),
        (
            "printf 'ERR truncated 7\\n'",
            LoadError::Truncated { at: 7 },
        ),
    ] {
        let error = refused(answering(dir.path(), answer)).await;
        assert_eq!(error, expected);
        assert!(!error.may_pass_later());
    }
    // The same text without the greeting, truncated, or with a failing status is no
    // verdict.
    for script in [
        "cat >/dev/null; printf 'ERR compile\\ntoo much'",
        "cat >/dev/null; printf 'pgtq-compiler 00\\nERR compile\\ntoo much'",
        "cat >/dev/null; printf 'OK\\ncode'",
        "exit 0",
        "exit 2",
        "kill -SEGV $$",
        "kill -ABRT $$",
        "echo 'oh no' >&2; exit 1",
    ] {
        let error = refused(compiler(dir.path(), script)).await;
        assert!(
            matches!(error, LoadError::CompilerFailed { .. }) && error.may_pass_later(),
            "{script}: {error}"
        );
    }
    for answer in [
        "printf 'ERR compile'",
        "printf 'ERR '",
        "printf 'ERR invalid\\nx'",
        "printf 'ERR other\\nx'",
        "printf 'OK'",
        "printf 'ERR compile\\ntoo much'; exit 1",
        "printf 'OK\\ncode'; kill -SEGV $$",
        "true",
    ] {
        let error = refused(answering(dir.path(), answer)).await;
        assert!(
            matches!(error, LoadError::CompilerFailed { .. }) && error.may_pass_later(),
            "{answer}: {error}"
        );
    }
    // An engine that rejects the code does not condemn the file either.
    let junk = refused(answering(dir.path(), "printf 'OK\\njunk'")).await;
    assert!(
        matches!(junk, LoadError::Internal(_)) && junk.may_pass_later(),
        "{junk}"
    );
}

#[tokio::test]
async fn a_compiler_crash_is_explained() {
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
    let time = refused(compiler(dir.path(), "kill -XCPU $$")).await;
    assert_eq!(time, LoadError::CompileTimeout { seconds: 120 });
    let mut texts = Vec::new();
    for script in [
        "echo 'oh no' >&2; exit 1",
        "cat >/dev/null; printf 'usage: pgtq'; exit 2",
        "cat >/dev/null; printf 'pgtq-compiler 00\\nOK\\n'",
    ] {
        texts.push(refused(compiler(dir.path(), script)).await.to_string());
    }
    let mut none = small();
    none.compiler = Some(Compiler::at("/no/such/program"));
    texts.push(refused(none).await.to_string());
    insta::assert_snapshot!(texts.join("\n"));
}

#[tokio::test]
async fn the_childs_environment_and_arguments_reveal_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let out = dir.path().join("out");
    let script = format!(
        "cat >/dev/null; echo $1 >{0}; env >>{0}; exit 1",
        out.display()
    );
    refused(compiler(dir.path(), &script)).await;
    let said = std::fs::read_to_string(out).expect("out");
    let ours = ["RAYON_NUM_THREADS", "RUST_MIN_STACK", "MALLOC_ARENA_MAX"];
    // Variables that a shell sets itself.
    let shells = ["PWD", "OLDPWD", "_", "SHLVL"];
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("compile-plugin"));
    for line in lines {
        let name = line.split('=').next().unwrap_or_default();
        assert!(ours.contains(&name) || shells.contains(&name), "{line}");
    }
}
