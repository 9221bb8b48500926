//! A runner as a child process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::process::program;
use crate::wait::wait_until;

/// How a runner is started.
#[derive(Debug, Clone, Default)]
pub struct RunnerOptions {
    /// More arguments for `pgtq run`.
    pub arguments: Vec<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
}

/// A running `pgtq run`. Dropping it kills it.
#[derive(Debug)]
pub struct Runner {
    child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts a runner on the database at `url` with the plugins in `plugin_dir`.
    /// Returns at once; see [`Runner::wait_for`]. Call it from the test's own
    /// thread: on Linux the runner ends with the thread that started it.
    pub fn start(url: &str, plugin_dir: &Path, options: &RunnerOptions) -> Self {
        Self::start_as(program(), url, plugin_dir, options)
    }

    /// As [`Runner::start`], with its output and its errors going where the test says.
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
            said: Arc::default(),
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

    /// As [`Runner::start`], by this program.
    pub fn start_as(
        command: Command,
        url: &str,
        plugin_dir: &Path,
        options: &RunnerOptions,
    ) -> Self {
        let mut command = Self::command(command, url, plugin_dir, options);
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("pgtq starts");
        let stderr = child.stderr.take().expect("it is piped");
        let said = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&said);
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let mut said = shared.lock().unwrap_or_else(PoisonError::into_inner);
                said.push_str(&String::from_utf8_lossy(&line));
                said.push('\n');
            }
        });
        Runner {
            child,
            said,
            reader: Some(reader),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard error so far.
    pub fn stderr(&self) -> String {
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until its standard error holds `text`; panics with all of it if the
    /// runner ends first.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        wait_until(&format!("the runner says {text:?}"), || {
            // GrantReport before reading: what it said before its end is read then.
            let ended = self.child.try_wait().expect("a child can be asked");
            if ended.is_some() {
                self.read_to_end();
            }
            let said = self.stderr();
            let there = said.contains(text);
            assert!(there || ended.is_none(), "it ended: {ended:?}\n{said}");
            there
        });
    }

    /// Its status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// SIGKILL, as `kill -9`, and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// SIGTERM: asks it to drain.
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

    /// SIGSTOP: it stands still until [`Runner::resume`].
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Waits for its end; panics if it does not come.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the runner ends", || {
            status = self.child.try_wait().expect("a child can be asked");
            status.is_some()
        });
        self.read_to_end();
        status.expect("the loop ended with it")
    }

    fn signal(&self, number: i32) {
        let pid = i32::try_from(self.child.id()).expect("process ids are small");
        // SAFETY: kill takes two numbers. The child is waited for by `self` only,
        // so its id is not another's.
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
            eprintln!("--- the runner said:\n{}---", self.stderr());
        }
    }
}

/// Has the kernel kill the child when the thread that starts it ends, and with
/// that when the test process does.
#[cfg(target_os = "linux")]
fn die_with_the_tests(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: prctl is a plain system call, allowed between fork and exec.
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
