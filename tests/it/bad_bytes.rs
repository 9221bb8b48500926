//! Bytes that no compiler made, dropped into the directory of a living runner. It
//! must reject each with a clear error and continue to serve.
//!
//! `PGTQ_BAD_BYTES=2000` tries that many damaged plugins instead of a few, and
//! `PGTQ_BAD_BYTES_SEED=7` others.

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

/// Damaged plugins that are tried by default: half a second each.
const N_DAMAGED: usize = 12;

fn number(name: &str, otherwise: usize) -> usize {
    let text = env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A scene with a good plugin, and a runner on it.
struct Target {
    database: pgtq_tests::Database,
    dir: tempfile::TempDir,
    runner: Runner,
}

impl Target {
    fn start() -> Target {
        // So that nobody waits for a compiler that got lost.
        Target::start_with("compile_timeout = '20s'")
    }

    /// With these settings of plugins.
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

    /// Puts a file in place; what the runner says of it, in the end.
    fn drop_in(&mut self, name: &str, bytes: &[u8]) -> String {
        let ends = ["live", "refused"].map(|end| format!("plugin {name}: {end}"));
        let said = |runner: &Runner| -> Vec<String> {
            let ended = |line: &&str| ends.iter().any(|end| line.contains(end));
            runner
                .stderr()
                .lines()
                .filter(ended)
                .map(str::to_owned)
                .collect()
        };
        let before = said(&self.runner).len();
        replace(self.dir.path(), name, bytes);
        let mut after = Vec::new();
        wait_until(&format!("{name} is live or refused"), || {
            let ended = self.runner.ended();
            assert!(
                ended.is_none(),
                "{name} ended the runner: {ended:?}\n{}",
                self.runner.stderr()
            );
            after = said(&self.runner);
            after.len() > before
        });
        let line = after.pop().unwrap_or_default();
        let (_, end) = line
            .split_once(&format!("plugin {name}: "))
            .unwrap_or_default();
        end.to_owned()
    }

    /// The good plugin serves, and the runner has not said that it panicked.
    fn serves_on(&mut self) {
        let sum = cli(
            self.database.url(),
            &["push", "add_numbers", "a=2", "b=3", "--wait"],
            "",
        );
        assert_eq!(sum.success(), "5");
        assert!(self.runner.ended().is_none(), "the runner is gone");
        let said = self.runner.stderr();
        assert!(!said.contains("panicked"), "{said}");
    }
}

fn replace(dir: &Path, name: &str, bytes: &[u8]) {
    let beside = dir.join(format!(".{name}.new"));
    fs::write(&beside, bytes).expect("a file is written");
    fs::rename(&beside, dir.join(name)).expect("a file is renamed");
}

#[test]
fn a_file_with_huge_requests_is_rejected_and_the_runner_survives() {
    // Of memory a little more than good plugins take, so that it is soon spent.
    let mut target = Target::start_with("compile_timeout = '20s'\ncompile_memory = '384MiB'");
    for (name, bytes, word) in bombs::outlines() {
        let said = target.drop_in(name, &bytes);
        assert!(
            said.starts_with("refused") && said.contains(word),
            "{name}: {said}"
        );
    }
    let memory = target.drop_in("br_table.wasm", &bombs::br_table());
    // By its memory, or on a slow machine by the clock.
    assert!(memory.contains("and was stopped"), "{memory}");
    eprintln!("the validator's bomb: {memory}");
    target.serves_on();
}

#[test]
fn a_file_that_compiles_too_long_is_rejected_and_the_runner_survives() {
    let cache = tempfile::tempdir().expect("a temporary directory is made");
    let cache = format!("cache = '{}'", cache.path().display());
    // The good plugin is compiled before time is short.
    drop(Target::start_with(&cache));
    let mut target = Target::start_with(&format!("{cache}\ncompile_timeout = '1s'"));
    let time = target.drop_in("compiler.wasm", &bombs::compiler());
    assert!(
        time.contains("more than 1 s of processor time and was stopped"),
        "{time}"
    );
    eprintln!("the compiler's bomb: {time}");
    target.serves_on();
}

/// The same numbers every time: a splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// Where the sections of a component begin and end.
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

/// The file with one damage: cut, a bit turned, bytes overwritten, moved or doubled.
fn damaged(file: &[u8], ends: &[usize], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let at = dice.below(bytes.len());
    let length = 1 + dice.below(64.min(bytes.len() - at));
    match dice.below(6) {
        0 => {
            let end = ends[dice.below(ends.len())] + dice.below(3);
            bytes.truncate((end.saturating_sub(1)).min(file.len() - 1));
        }
        1 => bytes.truncate(at),
        2 => bytes[at] ^= 1 << dice.below(8),
        3 => bytes[at..at + length].fill(0xff),
        4 => drop(bytes.drain(at..at + length)),
        _ => bytes.extend_from_slice(&file[at..]),
    }
    bytes
}

#[test]
fn a_damaged_plugin_is_rejected_or_works_and_the_runner_survives() {
    let n = number("PGTQ_BAD_BYTES", N_DAMAGED);
    let mut dice = Dice(number("PGTQ_BAD_BYTES_SEED", 1) as u64);
    let mut target = Target::start();
    let good = fs::read(plugin("flaky")).expect("a plugin is read");
    let ends = boundaries(&good);
    let (mut n_live, mut n_refused) = (0, 0);
    for _ in 0..n {
        let bytes = damaged(&good, &ends, &mut dice);
        let said = target.drop_in("victim.wasm", &bytes);
        match said.split_once("refused").map(|(_, reason)| reason) {
            None => n_live += 1,
            Some(reason) => {
                n_refused += 1;
                assert!(
                    reason.trim_matches([':', ' ']).len() > 10,
                    "no words: {said}"
                );
                assert!(!said.contains("internal error"), "{said}");
            }
        }
    }
    target.serves_on();
    eprintln!("{n} damaged plugins: {n_refused} refused, {n_live} live, 0 deaths");
}
