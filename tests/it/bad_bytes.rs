//! Invalid plugin files in the directory of a live runner. It must reject each with a
//! clear error and continue to serve.
//!
//! `PGTQ_BAD_BYTES=2000` tests that many damaged plugins instead of a few,
//! `PGTQ_BAD_BYTES_SEED=7` uses another seed.

use std::env;
use std::fs;
use std::path::Path;

use pgtq_tests::{Runner, cli, plugin, plugin_dir, wait_until};

use crate::tasks::{database, runner};

pub(crate) mod bombs;
mod corpus;
mod names;
mod results;
mod texts;

/// The default number of damaged plugins. Each takes half a second.
const N_DAMAGED: usize = 12;

fn number(name: &str, otherwise: usize) -> usize {
    let text = env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A fixture with a valid plugin and a runner.
struct Target {
    database: pgtq_tests::Database,
    dir: tempfile::TempDir,
    runner: Runner,
}

impl Target {
    fn start() -> Target {
        // A limit for hanging compilers.
        Target::start_with("compile_timeout = '20s'")
    }

    /// With these `[plugins]` settings.
    fn start_with(plugins: &str) -> Target {
        let (database, _) = database();
        let dir = plugin_dir(&["hello"]);
        let config = format!("[plugins]\n{plugins}");
        let mut runner = runner(database.url(), dir.path(), &config, &[]);
        runner.wait_for("plugin hello.wasm: live");
        Target {
            database,
            dir,
            runner,
        }
    }

    /// Adds a file, and returns the runner's verdict on it.
    fn drop_in(&mut self, name: &str, bytes: &[u8]) -> String {
        let ends = ["live", "refused"].map(|end| format!("plugin {name}: {end}"));
        let lines = |runner: &Runner| -> Vec<String> {
            let ended = |line: &&str| ends.iter().any(|end| line.contains(end));
            runner
                .stderr()
                .lines()
                .filter(ended)
                .map(str::to_owned)
                .collect()
        };
        let before = lines(&self.runner).len();
        replace(self.dir.path(), name, bytes);
        let mut after = Vec::new();
        wait_until(&format!("{name} is live or refused"), || {
            let ended = self.runner.exited();
            assert!(
                ended.is_none(),
                "{name} ended the runner: {ended:?}\n{}",
                self.runner.stderr()
            );
            after = lines(&self.runner);
            after.len() > before
        });
        let line = after.pop().unwrap_or_default();
        let (_, end) = line
            .split_once(&format!("plugin {name}: "))
            .unwrap_or_default();
        end.to_owned()
    }

    /// The valid plugin is served, and the runner has not panicked.
    fn assert_serves(&mut self) {
        let sum = cli(
            self.database.url(),
            &["push", "add_numbers", "a=2", "b=3", "--wait"],
            "",
        );
        assert_eq!(sum.success(), "5");
        assert!(self.runner.exited().is_none(), "the runner has exited");
        let log = self.runner.stderr();
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn replace(dir: &Path, name: &str, bytes: &[u8]) {
    let beside = dir.join(format!(".{name}.new"));
    fs::write(&beside, bytes).expect("a file is written");
    fs::rename(&beside, dir.join(name)).expect("a file is renamed");
}

#[test]
fn a_file_with_huge_requests_is_rejected_and_the_runner_survives() {
    // A memory limit slightly above the need of valid plugins.
    let mut target = Target::start_with("compile_timeout = '20s'\ncompile_memory = '384MiB'");
    for (name, bytes, word) in bombs::outlines() {
        let message = target.drop_in(name, &bytes);
        assert!(
            message.starts_with("refused") && message.contains(word),
            "{name}: {message}"
        );
    }
    let memory = target.drop_in("br_table.wasm", &bombs::br_table());
    // Rejected for its memory, or on a slow machine for its time.
    assert!(memory.contains("and was stopped"), "{memory}");
    eprintln!("the validator's bomb: {memory}");
    target.assert_serves();
}

#[test]
fn a_file_that_compiles_too_long_is_rejected_and_the_runner_survives() {
    let cache = tempfile::tempdir().expect("a temporary directory is created");
    let cache = format!("cache = '{}'", cache.path().display());
    // The valid plugin is compiled before the limit is reduced.
    drop(Target::start_with(&cache));
    let mut target = Target::start_with(&format!("{cache}\ncompile_timeout = '1s'"));
    let time = target.drop_in("compiler.wasm", &bombs::compiler());
    assert!(
        time.contains("more than 1 s of processor time and was stopped"),
        "{time}"
    );
    eprintln!("the compiler's bomb: {time}");
    target.assert_serves();
}

/// A deterministic random number generator (splitmix64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// The boundaries of the sections of a component.
fn boundaries(file: &[u8]) -> Vec<usize> {
    let mut ends = vec![8];
    let mut at = 8;
    while at + 1 < file.len() {
        let (mut size, mut shift, mut next) = (0usize, 0, at + 1);
        while let Some(byte) = file.get(next) {
            size |= usize::from(byte & 0x7f) << shift;
            (shift, next) = (shift + 7, next + 1);
            if byte & 0x80 == 0 {
                break;
            }
        }
        at = next + size;
        ends.push(at.min(file.len()));
    }
    ends
}

/// Damages the file: truncates it, flips a bit, or overwrites, moves or duplicates bytes.
fn damaged(file: &[u8], ends: &[usize], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let at = rng.below(bytes.len());
    let length = 1 + rng.below(64.min(bytes.len() - at));
    match rng.below(6) {
        0 => {
            let end = ends[rng.below(ends.len())] + rng.below(3);
            bytes.truncate((end.saturating_sub(1)).min(file.len() - 1));
        }
        1 => bytes.truncate(at),
        2 => bytes[at] ^= 1 << rng.below(8),
        3 => bytes[at..at + length].fill(0xff),
        4 => drop(bytes.drain(at..at + length)),
        _ => bytes.extend_from_slice(&file[at..]),
    }
    bytes
}

#[test]
fn a_damaged_plugin_is_rejected_or_works_and_the_runner_survives() {
    let n = number("PGTQ_BAD_BYTES", N_DAMAGED);
    let mut rng = Rng(number("PGTQ_BAD_BYTES_SEED", 1) as u64);
    let mut target = Target::start();
    let good = fs::read(plugin("flaky")).expect("a plugin is read");
    let ends = boundaries(&good);
    let (mut n_live, mut n_refused) = (0, 0);
    for _ in 0..n {
        let bytes = damaged(&good, &ends, &mut rng);
        let message = target.drop_in("victim.wasm", &bytes);
        match message.split_once("refused").map(|(_, reason)| reason) {
            None => n_live += 1,
            Some(reason) => {
                n_refused += 1;
                assert!(
                    reason.trim_matches([':', ' ']).len() > 10,
                    "no message: {message}"
                );
                assert!(!message.contains("internal error"), "{message}");
            }
        }
    }
    target.assert_serves();
    eprintln!("{n} damaged plugins: {n_refused} refused, {n_live} live, 0 crashes");
}
