//! The program under test as a child process.

use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The result of a finished command.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` if a signal killed the process.
    pub code: Option<i32>,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

impl Finished {
    /// Returns the standard output without trailing whitespace. Panics with all output
    /// if the exit code is not 0.
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

/// A command that runs pgtq. Its environment has no `DATABASE_URL`, no `PG*`, and of
/// `PGTQ_*` only the variables for programs and caches.
///
/// The program is a binary of this crate, which calls `pgtq::main` like the real one:
/// cargo builds it before the tests, with the same features. A cargo started by a test
/// would rebuild most dependencies.
pub fn program() -> Command {
    let file = profile_dir().join("pgtq-under-test");
    assert!(
        file.exists(),
        "{} is missing: run `cargo test -p pgtq-tests`, which builds it",
        file.display()
    );
    other_program(&file)
}

/// As [`program`], with another program file, such as an older version of pgtq.
pub fn other_program(file: &Path) -> Command {
    let mut command = Command::new(file);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let kept = ["PGTQ_PG_BIN", "PGTQ_CACHE_DIR", "PGTQ_NO_INSTALL"];
        let is_setting = text.starts_with("PG") || text == "DATABASE_URL";
        if is_setting && !kept.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    reset_sigint(&mut command);
    command
}

/// Restores the default action of SIGINT. A test run in the background of a shell ignores
/// SIGINT, and its children inherit that.
#[cfg(unix)]
fn reset_sigint(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: signal is a system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
}

#[cfg(not(unix))]
fn reset_sigint(_command: &mut Command) {}

/// Runs pgtq with `arguments`, the database at `url`, and `input` on standard input.
/// Blocks until it exits.
pub fn cli<S: AsRef<OsStr>>(url: &str, arguments: &[S], input: &str) -> Finished {
    cli_of(program(), url, arguments, input)
}

/// As [`cli`], with another program.
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
        // Fails if the command does not read its input.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().expect("pgtq exits");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The directory of the profile, such as `target/debug`. The test binary is in its
/// subdirectory `deps`.
fn profile_dir() -> PathBuf {
    let exe = env::current_exe().expect("the path of the test binary is known");
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
