//! The program under test as a child process.

use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Panics with everything it said unless it ended with 0; returns its output
    /// without the last line's end.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self.stdout.trim_end().to_owned()
    }
}

/// A command that runs pgtq. It sees none of this process's `PGTQ_*` settings but
/// those about programs and caches, and no `DATABASE_URL` or `PG*`.
///
/// The program is a binary of this crate that calls `pgtq::main` as the real
/// one does: cargo builds it before these tests, and with the same features, where
/// a cargo started from here would build half the tree again.
pub fn program() -> Command {
    let file = profile_dir().join("pgtq-under-test");
    assert!(
        file.exists(),
        "{} is missing: run `cargo test -p pgtq-tests`, which builds it",
        file.display()
    );
    other_program(&file)
}

/// As [`program`], but this file: a pgtq of another version.
pub fn other_program(file: &Path) -> Command {
    let mut command = Command::new(file);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let about_the_machine = ["PGTQ_PG_BIN", "PGTQ_CACHE_DIR", "PGTQ_NO_INSTALL"];
        let about_a_database = text.starts_with("PG") || text == "DATABASE_URL";
        if about_a_database && !about_the_machine.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    hear_interrupts(&mut command);
    command
}

/// A test run in a shell's background ignores SIGINT, and so would what it starts.
#[cfg(unix)]
fn hear_interrupts(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: signal is a plain system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
}

#[cfg(not(unix))]
fn hear_interrupts(_command: &mut Command) {}

/// Runs pgtq with `arguments` on the database at `url` to its end, `input` on its
/// standard input. Blocks.
pub fn cli<S: AsRef<OsStr>>(url: &str, arguments: &[S], input: &str) -> Finished {
    cli_of(program(), url, arguments, input)
}

/// As [`cli`], by this program.
pub fn cli_of<S: AsRef<OsStr>>(
    mut program: Command,
    url: &str,
    arguments: &[S],
    input: &str,
) -> Finished {
    let mut child = program
        .args(arguments)
        .env("PGTQ_DATABASE_URL", url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("pgtq starts");
    if let Some(mut stdin) = child.stdin.take() {
        // A command that reads no input closes it, which is fine.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().expect("pgtq ends");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// `target/debug`, say: the test binary is in its `deps`.
fn profile_dir() -> PathBuf {
    let exe = env::current_exe().expect("a process knows its program");
    let mut dir = exe.parent().expect("a file has a directory").to_owned();
    if dir.ends_with("deps") {
        dir.pop();
    }
    dir
}

/// Cargo's target directory.
pub(crate) fn target_dir() -> PathBuf {
    let mut dir = profile_dir();
    dir.pop();
    dir
}
