//! Readers of standard error or standard output that stop or exit: only lines of output
//! are lost.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command, Stdio};

use pgtq_tests::{Runner, RunnerOptions, Sql, plugin, plugin_dir, program, wait_until};

use crate::tasks::{assert_completed_once, database, push, wait_for_finished};

/// Enables log lines of every crate, so that a pipe is full soon.
fn talkative(arguments: &[&str]) -> RunnerOptions {
    RunnerOptions {
        arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        env: vec![("PGTQ_LOG".to_owned(), "trace".to_owned())],
    }
}

/// The capacity of a pipe, in bytes.
fn capacity(pipe: &PipeWriter) -> usize {
    // SAFETY: fcntl takes two numbers here.
    let size = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_GETPIPE_SZ) };
    usize::try_from(size).expect("a pipe has a size")
}

/// A full pipe.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let filling = vec![b'.'; capacity(&writer)];
    writer.write_all(&filling).expect("it fits");
    (reader, writer)
}

/// The number of unread bytes in a pipe.
fn waiting(reader: &PipeReader) -> usize {
    let mut n: libc::c_int = 0;
    // SAFETY: FIONREAD writes one integer.
    let asked = unsafe { libc::ioctl(reader.as_raw_fd(), libc::FIONREAD, &raw mut n) };
    assert_eq!(asked, 0, "a pipe can be asked");
    usize::try_from(n).expect("a count")
}

fn wait_for_runner(sql: &Sql) {
    wait_until("the runner is registered", || {
        sql.number("SELECT count(*) FROM pgtq.runners") == 1
    });
}

/// Tasks finish, a new plugin is loaded, heartbeats arrive, and SIGTERM drains.
#[track_caller]
fn assert_works_and_drains(sql: &Sql, dir: &tempfile::TempDir, runner: &mut Runner, n: usize) {
    push(sql, "add_numbers", n, "[2, 3]");
    wait_for_finished(sql, n);
    let flaky = fs::read(plugin("flaky")).expect("it is built");
    fs::write(dir.path().join("flaky.wasm"), flaky).expect("it is written");
    push(sql, "flaky.sleep", 1, "[0]");
    wait_for_finished(sql, n + 1);
    let beat = sql.row("SELECT seen_at FROM pgtq.runners");
    wait_until("the runner sends another heartbeat", || {
        sql.row("SELECT seen_at FROM pgtq.runners") != beat
    });
    runner.terminate();
    assert_eq!(runner.wait().code(), Some(0));
    assert_completed_once(sql, n + 1);
    let left =
        sql.row("SELECT (SELECT count(*) FROM pgtq.claims), (SELECT count(*) FROM pgtq.runners)");
    assert_eq!(left, "0|0", "claims and runners");
}

#[test]
fn a_runner_with_an_unread_log_works_and_drains() {
    let (database, sql) = database();
    let dir = plugin_dir(&["hello"]);
    let (_reader, writer) = full_pipe();
    let options = talkative(&[]);
    let mut runner =
        Runner::start_unread(database.url(), dir.path(), &options, Stdio::null(), writer);
    wait_for_runner(&sql);
    assert_works_and_drains(&sql, &dir, &mut runner, 500);
}

#[test]
fn a_stopped_log_reader_loses_lines_and_is_told_how_many() {
    let (database, sql) = database();
    let dir = plugin_dir(&["hello"]);
    let (mut reader, writer) = pipe().expect("a pipe");
    let full = capacity(&writer);
    let options = talkative(&[]);
    let mut runner =
        Runner::start_unread(database.url(), dir.path(), &options, Stdio::null(), writer);
    wait_for_runner(&sql);
    // Lines are not split, so some capacity may be left.
    wait_until("the pipe is full", || waiting(&reader) + 4_096 > full);
    push(&sql, "add_numbers", 3_000, "[2, 3]");
    wait_for_finished(&sql, 3_000);
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        reader.read_to_end(&mut text).expect("a pipe is read");
        String::from_utf8_lossy(&text).into_owned()
    });
    runner.terminate();
    assert_eq!(runner.wait().code(), Some(0));
    let text = reading.join().expect("it is read");
    let reports: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("lines were dropped because standard error was not read"))
        .collect();
    assert!(!reports.is_empty(), "{} bytes", text.len());
    let after = text.rsplit(reports[reports.len() - 1]).next();
    assert!(
        after.is_some_and(|after| after.contains("pgtq")),
        "lines follow"
    );
}

#[test]
fn a_closed_log_pipe_stops_nothing() {
    for before_start in [true, false] {
        let (database, sql) = database();
        let dir = plugin_dir(&["hello"]);
        let (reader, writer) = pipe().expect("a pipe");
        let reader = (!before_start).then_some(reader);
        let options = talkative(&[]);
        let mut runner =
            Runner::start_unread(database.url(), dir.path(), &options, Stdio::null(), writer);
        wait_for_runner(&sql);
        drop(reader);
        assert_works_and_drains(&sql, &dir, &mut runner, 200);
    }
}

#[test]
fn an_unread_summary_does_not_delay_the_exit() {
    let (database, sql) = database();
    let dir = plugin_dir(&["hello"]);
    let (_reader, writer) = full_pipe();
    let errors = writer.try_clone().expect("a descriptor");
    let options = talkative(&["--json"]);
    let mut runner = Runner::start_unread(database.url(), dir.path(), &options, writer, errors);
    wait_for_runner(&sql);
    assert_works_and_drains(&sql, &dir, &mut runner, 10);
}

/// A process, killed at the end of the test.
struct Process(Child);

impl Process {
    fn terminate(&self) {
        let pid = i32::try_from(self.0.id()).expect("small");
        // SAFETY: kill takes two integers; the child has not been waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }

    #[track_caller]
    fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("it ends", || {
            status = self.0.try_wait().expect("the child can be polled");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a thread of the process is blocked on a full pipe.
fn waits_for_a_reader(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    threads.flatten().any(|thread| {
        let place = fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
        place.contains("pipe_write")
    })
}

#[test]
fn pgtq_dev_with_unread_output_works_and_exits() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = plugin_dir(&["hello"]);
    let (_reader, writer) = full_pipe();
    let mut command: Command = program();
    command
        .args(["dev", "--no-build", "--plugins"])
        .arg(dir.path())
        .current_dir(home.path())
        .env("PGTQ_LOG", "trace")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer);
    let mut dev = Process(command.spawn().expect("pgtq starts"));
    drop(command);
    let address = home.path().join(".pgtq/url");
    wait_until("it says where its database is", || {
        fs::read_to_string(&address).is_ok_and(|url| url.ends_with('\n'))
    });
    let url = fs::read_to_string(&address).expect("it was there");
    let sql = Sql::connect(url.trim());
    wait_until("its runner is registered", || {
        sql.try_rows("SELECT FROM pgtq.runners")
            .is_ok_and(|rows| rows.len() == 1)
    });
    push(&sql, "add_numbers", 200, "[2, 3]");
    wait_for_finished(&sql, 200);
    drop(sql);
    dev.terminate();
    assert_eq!(dev.wait(), Some(0));
}

#[test]
fn an_unread_demo_handles_signals_and_cleans_up() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (_reader, writer) = full_pipe();
    let mut command: Command = program();
    command
        .arg("demo")
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::null());
    let mut tour = Process(command.spawn().expect("pgtq starts"));
    drop(command);
    let pid = tour.0.id();
    wait_until("the tour waits for its reader", || waits_for_a_reader(pid));
    tour.terminate();
    assert_eq!(tour.wait(), Some(130));
    let left: Vec<_> = fs::read_dir(temporary.path()).expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
}
