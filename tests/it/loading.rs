//! Loading plugins under faults: the runner is killed, its program is replaced, its cache
//! is world-writable, its volume is unmounted.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgtq_tests::{
    Database, Runner, RunnerOptions, cli, other_program, plugin, plugin_dir, program, wait_until,
};

use crate::bad_bytes::bombs;
use crate::tasks::database;

const HELLO: &str = "hello.wasm";
const LIVE: &str = "plugin hello.wasm: live";
/// A plugin that takes longer to compile than any of these tests runs.
const SLOW: &str = "slow.wasm";
const SLOW_COMPILES: &str = "plugin slow.wasm: compiling";

/// The directories of a runner.
struct Place {
    database: Database,
    plugins: tempfile::TempDir,
    cache: tempfile::TempDir,
}

impl Place {
    fn with(plugins: &[&str]) -> Place {
        let (database, _) = database();
        Place {
            database,
            plugins: plugin_dir(plugins),
            cache: tempfile::tempdir().expect("a temporary directory is created"),
        }
    }

    fn options(&self, env: &[(&str, &str)]) -> RunnerOptions {
        let cache = self.cache.path().display().to_string();
        let own = [
            ("PGTQ_CACHE", &*cache),
            ("PGTQ_COMPILE_TIMEOUT", "1h"),
            ("PGTQ_COMPILE_MEMORY", "4GiB"),
        ];
        let env = own.iter().chain(env);
        RunnerOptions {
            env: env
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..RunnerOptions::default()
        }
    }

    fn runner(&self) -> Runner {
        self.runner_as(program(), &[])
    }

    fn runner_as(&self, program: Command, env: &[(&str, &str)]) -> Runner {
        let options = self.options(env);
        Runner::start_as(program, self.database.url(), self.plugins.path(), &options)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let beside = self.plugins.path().join(format!(".{name}.new"));
        fs::write(&beside, bytes).expect("a file is written");
        fs::rename(&beside, self.plugins.path().join(name)).expect("a file is renamed");
    }

    fn put_hello(&self) {
        self.put(HELLO, &fs::read(plugin("hello")).expect("a plugin is read"));
    }

    /// Larger than one mebibyte, so that it counts as large.
    fn put_slow(&self) {
        let mut bytes = bombs::slow_compiler();
        bytes.extend(bombs::padding(2 << 20));
        self.put(SLOW, &bytes);
    }

    fn adds(&self) -> String {
        let words = ["push", "add_numbers", "a=2", "b=3", "--wait"];
        cli(self.database.url(), &words, "").success()
    }
}

/// The live child processes of a process.
fn children(pid: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let lists = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let all: Vec<String> = lists.collect();
    let pids = all.iter().flat_map(|list| list.split_whitespace());
    pids.map(str::to_owned).collect()
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has exited.
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !matches!(state.chars().next(), None | Some('Z' | 'X'))
}

/// The processor time of a process, in clock ticks.
fn ticks(pid: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let user = fields.split_whitespace().nth(11);
    user.and_then(|ticks| ticks.parse().ok())
        .unwrap_or_default()
}

/// Kills a runner while it compiles the slow plugin, and waits until its compiler exits.
fn kill_while_loading(runner: &mut Runner) {
    runner.wait_for(SLOW_COMPILES);
    let mut compilers = Vec::new();
    // By then it has read the whole file, and could continue without its runner.
    wait_until("the compiler has worked for a second", || {
        compilers = children(runner.pid());
        compilers.iter().any(|pid| ticks(pid) > 100)
    });
    runner.kill();
    wait_until("the compiler has ended with its runner", || {
        !compilers.iter().any(|pid| is_alive(pid))
    });
}

#[test]
fn a_file_with_two_crashes_while_loading_is_rejected_until_it_is_touched() {
    let place = Place::with(&["hello"]);
    place.put_slow();
    kill_while_loading(&mut place.runner());

    // After one crash it is loaded last and alone.
    let mut second = place.runner();
    second.wait_for("loaded alone");
    second.wait_for(LIVE);
    kill_while_loading(&mut second);

    let mut third = place.runner();
    third.wait_for("plugin slow.wasm: refused");
    third.wait_for(LIVE);
    assert!(!third.stderr().contains(SLOW_COMPILES));
    let listed = cli(place.database.url(), &["plugins"], "").success();
    let file = place.plugins.path().join(SLOW);
    let line = listed.lines().find(|line| line.contains("refused"));
    let line = line.unwrap_or_default();
    for word in [
        "crashed 2 times",
        "sha256",
        &format!("touch {}", file.display()),
    ] {
        assert!(line.contains(word), "{word}: {line}");
    }

    // As the message says.
    let touched = File::options()
        .write(true)
        .open(&file)
        .expect("it is there");
    touched
        .set_modified(std::time::SystemTime::now())
        .expect("it is touched");
    third.wait_for(SLOW_COMPILES);
    third.terminate();
    assert!(third.wait().success());
    // A clean exit is not counted, so it is tried again.
    let mut fourth = place.runner();
    fourth.wait_for(SLOW_COMPILES);
    fourth.terminate();
    assert!(fourth.wait().success());
}

#[test]
fn a_small_plugin_goes_live_while_a_large_one_compiles() {
    let place = Place::with(&[]);
    place.put_slow();
    let mut runner = place.runner();
    runner.wait_for(SLOW_COMPILES);
    place.put_hello();
    runner.wait_for(LIVE);
    assert_eq!(place.adds(), "5");
    assert!(!runner.stderr().contains("plugin slow.wasm: refused"));
    let compilers = children(runner.pid());
    assert!(!compilers.is_empty(), "it still compiles");
    runner.terminate();
    assert!(runner.wait().success());
    wait_until("the compiler has ended with its runner", || {
        !compilers.iter().any(|pid| is_alive(pid))
    });
}

#[test]
fn a_runner_whose_program_is_replaced_or_removed_still_compiles() {
    let place = Place::with(&[]);
    // On the same disk as the program, which is large.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory is made");
    let own = dir.path().join("pgtq");
    fs::hard_link(program().get_program(), &own).expect("the program is linked");
    let mut runner = place.runner_as(other_program(&own), &[]);
    runner.wait_for("registered");

    let other = dir.path().join("other");
    fs::write(&other, "#!/bin/sh\nexit 2\n").expect("a program is written");
    fs::set_permissions(&other, Permissions::from_mode(0o755)).expect("it can be run");
    fs::rename(&other, &own).expect("the program is replaced");
    place.put_hello();
    runner.wait_for(LIVE);

    fs::remove_file(&own).expect("the program is removed");
    let flaky = fs::read(plugin("flaky")).expect("a plugin is read");
    place.put("flaky.wasm", &flaky);
    runner.wait_for("plugin flaky.wasm: live");
    assert_eq!(place.adds(), "5");
}

#[test]
fn a_rejected_file_is_checked_again_when_it_is_touched() {
    let place = Place::with(&[]);
    // The outline is valid and the code is not, which only the compiler detects.
    let mut bytes = fs::read(plugin("hello")).expect("a plugin is read");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    place.put(HELLO, &bytes);
    let mut runner = place.runner();
    let refused = |runner: &Runner| runner.stderr().matches("hello.wasm: refused").count();
    let compiled = |runner: &Runner| runner.stderr().matches("hello.wasm: compiling").count();
    runner.wait_for("hello.wasm: refused");
    let before = (refused(&runner), compiled(&runner));
    let file = File::options()
        .write(true)
        .open(place.plugins.path().join(HELLO));
    file.and_then(|file| file.set_modified(std::time::SystemTime::now()))
        .expect("it is touched");
    wait_until("it is compiled again", || compiled(&runner) > before.1);
    place.put_hello();
    runner.wait_for(LIVE);
}

#[test]
fn the_compiling_child_keeps_no_unneeded_resource() {
    let inherited = File::open("/dev/null").expect("it is there");
    let number = inherited.as_raw_fd();
    let mut command = program();
    command
        .arg("compile-plugin")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    // SAFETY: fcntl is a system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(move || match libc::fcntl(number, libc::F_SETFD, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut child = command.spawn().expect("pgtq starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let request =
        r#"{"memory":1073741824,"cpu_seconds":60,"max_file_bytes":1000,"work":"compile"}"#;
    writeln!(stdin, "{request}").expect("it listens");
    // It sends a greeting after it has dropped its privileges, before it reads the file.
    let mut greeting = String::new();
    stdout.read_line(&mut greeting).expect("it greets");
    assert!(greeting.starts_with("pgtq-compiler "), "{greeting}");

    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let read = |name: &str| fs::read_to_string(proc.join(name)).expect("it lives");
    let status = read("status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        value.unwrap_or_default().to_owned()
    };
    for capabilities in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(read("oom_score_adj").trim(), "1000");
    let descriptors = fs::read_dir(proc.join("fd")).expect("it lives");
    let mut descriptors: Vec<_> = descriptors
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    descriptors.sort();
    assert_eq!(descriptors, ["0", "1", "2"]);
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

fn code_in(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_code = |path: PathBuf| path.extension().is_some_and(|end| end == "code");
    entries.filter(|entry| is_code(entry.path())).count()
}

fn private_in(dir: &Path) -> PathBuf {
    // SAFETY: has no arguments and cannot fail.
    dir.join(format!("pgtq-{}", unsafe { libc::geteuid() }))
}

#[test]
fn a_world_writable_cache_directory_is_used_through_a_private_subdirectory() {
    let place = Place::with(&["hello"]);
    // As Kubernetes mounts an `emptyDir` under `fsGroup`.
    let open = Permissions::from_mode(0o2777);
    fs::set_permissions(place.cache.path(), open).expect("its mode is set");
    let mut first = place.runner();
    first.wait_for(LIVE);
    assert!(!first.stderr().contains("cannot"), "{}", first.stderr());
    let private = private_in(place.cache.path());
    wait_until("its code is kept", || code_in(&private) == 1);
    let mode = fs::metadata(&private).expect("it is there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
    assert_eq!(code_in(place.cache.path()), 0);
    first.terminate();
    assert!(first.wait().success());
    // No compiler can run here, so the code comes from the cache.
    let mut second = place.runner_as(program(), &[("PGTQ_COMPILE_MEMORY", "1MiB")]);
    second.wait_for(LIVE);
}

#[test]
fn a_runner_without_a_home_directory_caches_code_in_the_temporary_directory() {
    let place = Place::with(&["hello"]);
    let temporary = place.cache.path().display().to_string();
    // It does not exist and cannot be created.
    for home in ["", "/proc/no-home"] {
        let env = [
            ("PGTQ_CACHE", ""),
            ("XDG_CACHE_HOME", ""),
            ("HOME", home),
            ("TMPDIR", &temporary),
        ];
        let mut runner = place.runner_as(program(), &env);
        runner.wait_for(LIVE);
        wait_until("its code is kept", || {
            code_in(&private_in(place.cache.path())) == 1
        });
        runner.terminate();
        assert!(runner.wait().success());
    }
}

#[test]
fn an_unmounted_plugin_volume_retires_no_plugin() {
    let place = Place::with(&["hello"]);
    let mut runner = place.runner();
    runner.wait_for(LIVE);
    // A mount point without its volume is another, empty directory.
    let aside = place.plugins.path().with_extension("aside");
    fs::rename(place.plugins.path(), &aside).expect("the volume is away");
    fs::create_dir(place.plugins.path()).expect("the mount point is there");
    runner.wait_for("the directory was replaced by an empty one");
    assert_eq!(place.adds(), "5");
    fs::remove_dir(place.plugins.path()).expect("the mount point is gone");
    fs::rename(&aside, place.plugins.path()).expect("the volume is back");
    runner.wait_for("the plugin directory is available again");
    assert_eq!(place.adds(), "5");
    assert!(!runner.stderr().contains("plugin hello.wasm: retired"));
}

#[test]
fn thousands_of_other_files_do_not_prevent_a_plugin_from_serving() {
    let place = Place::with(&["flaky"]);
    let core_module = b"\0asm\x01\0\0\0";
    for n in 0..3_000 {
        let path = place.plugins.path().join(format!("a{n:04}.wasm"));
        let bytes: &[u8] = match n % 3 {
            0 => b"",
            1 => b"no plugin",
            _ => core_module,
        };
        fs::write(path, bytes).expect("a file is written");
    }
    let mut runner = place.runner();
    runner.wait_for("plugin flaky.wasm: live");
    // Its name sorts last, and it is added last.
    place.put_hello();
    runner.wait_for(LIVE);
    assert_eq!(place.adds(), "5");
    // The log names each of them.
    for file in ["a0000.wasm", "a2999.wasm"] {
        runner.wait_for(&format!("plugin {file}: refused"));
    }
    runner.wait_for("too many files are rejected to list them all");
}
