//! A runner as a child process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::process::program;
use crate::wait::wait_until;

/// How to start a runner.
#[derive(Debug, Clone, Default)]
pub struct RunnerOptions {
    /// Additional arguments for `pgtq run`.
    pub arguments: Vec<String>,
    /// Additional environment variables.
    pub env: Vec<(String, String)>,
}

/// A running `pgtq run`. Dropping it kills it.
#[derive(Debug)]
pub struct Runner {
    child: Child,
    output: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts a runner on the database at `url` with the plugins in `plugin_dir`.
    /// Returns at once; see [`Runner::wait_for`]. Call it on the test's thread: on
    /// Linux the runner is killed when the thread that started it ends.
    pub fn start(url: &str, plugin_dir: &Path, options: &RunnerOptions) -> Self {
        Self::start_as(program(), url, plugin_dir, options)
    }

    /// As [`Runner::start`], with the given standard output and error.
    /// [`Runner::stderr`] stays empty.
    pub fn start_unread(
        url: &str,
        plugin_dir: &Path,
        options: &RunnerOptions,
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Self {
        let mut command = Self::command(program(), url, plugin_dir, options);
        command.stdout(stdout).stderr(stderr);
        Runner {
            child: command.spawn().expect("pgtq starts"),
            output: Arc::default(),
            reader: None,
        }
    }

    fn command(
        mut command: Command,
        url: &str,
        plugin_dir: &Path,
        options: &RunnerOptions,
    ) -> Command {
        command
            .arg("run")
            .arg("--plugins")
            .arg(plugin_dir)
            .args(&options.arguments)
            .env("PGTQ_DATABASE_URL", url)
            .envs(options.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        die_with_the_tests(&mut command);
        command
    }

    /// As [`Runner::start`], with another program.
    pub fn start_as(
        command: Command,
        url: &str,
        plugin_dir: &Path,
        options: &RunnerOptions,
    ) -> Self {
        let mut command = Self::command(command, url, plugin_dir, options);
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("pgtq starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let output = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&output);
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let mut output = shared.lock().unwrap_or_else(PoisonError::into_inner);
                output.push_str(&String::from_utf8_lossy(&line));
                output.push('\n');
            }
        });
        Runner {
            child,
            output,
            reader: Some(reader),
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The standard error so far.
    pub fn stderr(&self) -> String {
        self.output
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until standard error contains `text`. Panics with all of it if the runner
    /// exits first.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        wait_until(&format!("the runner logs {text:?}"), || {
            // The status before the output, so that no output is missed.
            let exited = self.child.try_wait().expect("the child can be polled");
            if exited.is_some() {
                self.read_to_end();
            }
            let output = self.stderr();
            let found = output.contains(text);
            assert!(found || exited.is_none(), "it exited: {exited:?}\n{output}");
            found
        });
    }

    /// The exit status; `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be polled")
    }

    /// Sends SIGKILL, as `kill -9`, and waits for the exit.
    pub fn kill(&mut self) {
        self.child.kill().expect("the child can be killed");
        self.child.wait().expect("a killed child exits");
    }

    /// SIGTERM: starts a drain.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    /// SIGINT, as Ctrl-C.
    pub fn interrupt(&self) {
        self.signal(libc::SIGINT);
    }

    /// SIGHUP: reloads its configuration.
    pub fn hang_up(&self) {
        self.signal(libc::SIGHUP);
    }

    /// SIGSTOP: stops it until [`Runner::resume`].
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// SIGCONT: continues it.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Waits for the exit. Panics after a timeout.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the runner exits", || {
            status = self.child.try_wait().expect("the child can be polled");
            status.is_some()
        });
        self.read_to_end();
        status.expect("the loop sets it")
    }

    fn signal(&self, number: i32) {
        let pid = i32::try_from(self.child.id()).expect("process ids fit");
        // SAFETY: kill takes two integers. Only `self` reaps the child, so its id is
        // not reused.
        unsafe { libc::kill(pid, number) };
    }

    fn read_to_end(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // A stopped process is killed as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- output of the runner:\n{}---", self.stderr());
        }
    }
}

/// Makes the kernel kill the child when this thread ends, which includes the end of the
/// test process.
#[cfg(target_os = "linux")]
fn die_with_the_tests(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: prctl is a system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_the_tests(_command: &mut Command) {}
