//! Limits of the machine: descriptors, threads, memory, temporary files. Errors are clear,
//! and no attempt is used.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgtq_tests::{
    Database, Finished, Runner, RunnerOptions, Sql, cli_of, other_program, plugin_dir, program,
};

use crate::tasks::{push, wait_for_finished};

/// The program with a resource limit.
fn limited(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> Command {
    under_limit(program(), resource, soft, hard)
}

fn under_limit(
    mut command: Command,
    resource: libc::__rlimit_resource_t,
    soft: u64,
    hard: u64,
) -> Command {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: setrlimit is a system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(resource, &raw const limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command
}

fn with_few_files(soft: u64, hard: u64) -> Command {
    limited(libc::RLIMIT_NOFILE, soft, hard)
}

/// `program` with a limit of threads, as a user without other processes. Root has no such
/// limit.
fn with_few_threads(program: Command, n: u64) -> Command {
    const NOBODY_ELSE: u32 = 54_321;
    let mut command = under_limit(program, libc::RLIMIT_NPROC, n, n);
    // SAFETY: geteuid only returns a number.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(NOBODY_ELSE);
    }
    command
}

/// A link to the program in a directory that every user can access. The build directory may
/// be in a private home directory.
fn program_for_every_user(dir: &Path) -> PathBuf {
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir, open).expect("a directory is opened");
    let built = program().get_program().to_owned();
    let file = dir.join("pgtq");
    if std::fs::hard_link(&built, &file).is_err() {
        std::fs::copy(&built, &file).expect("the program is copied");
    }
    file
}

fn drain(command: Command, url: &str, plugins: &Path) -> Finished {
    let plugins = plugins.display().to_string();
    cli_of(command, url, &["run", "--drain", "--plugins", &plugins], "")
}

#[test]
fn a_runner_with_too_few_descriptors_fails_with_a_clear_error() {
    let database = Database::migrated();
    let dir = plugin_dir(&["hello"]);
    let few = drain(with_few_files(32, 32), database.url(), dir.path());
    assert_eq!(few.code, Some(1), "{}", few.stderr);
    assert!(
        few.stderr.contains("the limit on open files is 32"),
        "{}",
        few.stderr
    );
    assert!(few.stderr.contains("ulimit -n 1024"), "{}", few.stderr);
    // It raises its soft limit if possible, and works with the number it asks for.
    let sql = Sql::connect(database.url());
    for (n, (soft, hard)) in [(32, 4_096), (128, 128)].into_iter().enumerate() {
        push(&sql, "add_numbers", 100, "[2, 3]");
        let enough = drain(with_few_files(soft, hard), database.url(), dir.path());
        assert_eq!(enough.code, Some(0), "{}", enough.stderr);
        wait_for_finished(&sql, (n + 1) * 100);
    }
}

#[test]
fn without_threads_the_program_fails_without_a_panic() {
    let database = Database::migrated();
    let dir = plugin_dir(&["hello"]);
    // A stack of a petabyte cannot be allocated, so no thread can start.
    let mut no_stack = program();
    no_stack.env("RUST_MIN_STACK", (1_u64 << 50).to_string());
    let home = tempfile::tempdir().expect("a temporary directory is created");
    let file = program_for_every_user(home.path());
    let few = [1, 2, 3, 5].map(|n| with_few_threads(other_program(&file), n));
    for command in few.into_iter().chain([no_stack]) {
        let none = drain(command, database.url(), dir.path());
        assert_eq!(none.code, Some(1), "{}", none.stderr);
        for words in ["cannot start threads", "ulimit -u"] {
            assert!(none.stderr.contains(words), "{}", none.stderr);
        }
        assert!(!none.stderr.contains("panicked"), "{}", none.stderr);
    }
}

#[test]
fn a_batch_from_stdin_without_a_temporary_directory_fails_with_a_clear_error() {
    let database = Database::migrated();
    let mut command = program();
    command.env("TMPDIR", "/nonexistent");
    let line = r#"{"handler": "a"}"#;
    let arguments = ["push", "--batch", "-", "--allow-unknown"];
    let batch = cli_of(command, database.url(), &arguments, line);
    assert_eq!(batch.code, Some(1), "{}", batch.stderr);
    for words in [
        "temporary directory `/nonexistent`",
        "set TMPDIR",
        "instead of `-`",
    ] {
        assert!(batch.stderr.contains(words), "{words}: {}", batch.stderr);
    }
}

/// The address space of a process, in bytes.
fn address_space(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmSize:"));
    let size = line.and_then(|line| line.split_whitespace().nth(1));
    size.and_then(|size| size.parse::<u64>().ok())
        .expect("a size")
        << 10
}

fn allow_address_space(pid: u32, bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    let pid = i32::try_from(pid).expect("small");
    // SAFETY: prlimit only reads the struct it is given.
    let set =
        unsafe { libc::prlimit(pid, libc::RLIMIT_AS, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(set, 0, "the limit is set");
}

#[test]
fn an_attempt_without_memory_is_released_and_not_counted() {
    let database = Database::migrated();
    let sql = Sql::connect(database.url());
    let dir = plugin_dir(&["hello"]);
    let options = RunnerOptions {
        env: vec![("PGTQ_ALLOCATOR".to_owned(), "on-demand".to_owned())],
        ..RunnerOptions::default()
    };
    let mut runner = Runner::start(database.url(), dir.path(), &options);
    // Warm-up: everything except the memory of an attempt is allocated.
    push(&sql, "add_numbers", 100, "[2, 3]");
    wait_for_finished(&sql, 100);
    allow_address_space(runner.pid(), address_space(runner.pid()) + (32 << 20));
    push(&sql, "add_numbers", 10, "[2, 3]");
    runner.wait_for("this machine has too little memory for an instance");
    allow_address_space(runner.pid(), libc::RLIM_INFINITY);
    wait_for_finished(&sql, 110);
    let counted = "SELECT max(attempts), max(crashes), count(*) FILTER (WHERE state = 'complete') FROM pgtq.history";
    assert_eq!(sql.row(counted), "1|0|110");
    runner.terminate();
    assert_eq!(runner.wait().code(), Some(0));
}
