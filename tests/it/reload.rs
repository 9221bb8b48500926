//! Plugins replaced, broken, removed and restored under load.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pgtq_tests::{Runner, Sql, cli, hello_version, plugin, plugin_dir, wait_until};

use crate::tasks::{assert_completed_once, database, n_finished, push, runner, wait_for_finished};

const FILE: &str = "hello.wasm";
const LIVE: &str = "plugin hello.wasm: live";

/// Replaces a file atomically, as a deployment does.
fn swap(dir: &Path, name: &str, bytes: &[u8]) {
    let beside = dir.join(format!(".{name}.new"));
    fs::write(&beside, bytes).expect("a plugin is written");
    fs::rename(&beside, dir.join(name)).expect("a plugin is renamed");
}

fn read(file: PathBuf) -> Vec<u8> {
    fs::read(file).expect("a plugin is read")
}

/// The digest, as printed by pgtq.
fn digest(url: &str, file: &Path) -> String {
    let file = file.display().to_string();
    let text = cli(url, &["inspect", &file, "--json"], "").success();
    let json: serde_json::Value = serde_json::from_str(&text).expect("it prints JSON");
    let digest = json.get("digest").and_then(|digest| digest.as_str());
    digest
        .unwrap_or_else(|| panic!("no digest in {text}"))
        .to_owned()
}

/// How often the runner has logged `text`.
fn n_said(runner: &Runner, text: &str) -> usize {
    runner.stderr().matches(text).count()
}

#[track_caller]
fn wait_for_another(runner: &Runner, text: &str, before: usize) {
    wait_until(&format!("the runner says {text:?} once more"), || {
        n_said(runner, text) > before
    });
}

fn push_both(sql: &Sql, n: usize) {
    push(sql, "add_numbers", n / 2, "[2, 3]");
    push(sql, "greet", n - n / 2, "{}");
}

/// Swaps two versions while tasks run. Returns the number of tasks of each version.
fn swap_under_load(n_swaps: usize, n_tasks: usize) {
    let (database, sql) = database();
    let files = [hello_version("1"), hello_version("2")];
    let digests = files.each_ref().map(|file| digest(database.url(), file));
    let versions = files.map(read);
    let dir = plugin_dir(&[]);
    swap(dir.path(), FILE, &versions[0]);
    let runner = runner(database.url(), dir.path(), "", &[]);
    wait_for_another(&runner, LIVE, 0);

    // Tasks are pushed continuously, so that some run in every phase of a swap.
    let n_each = n_tasks / n_swaps;
    let drip = n_each.div_ceil(10);
    let mut n_busy = 0;
    let started = Instant::now();
    for number in 1..=n_swaps {
        let mut left = n_each;
        let mut push_some = |most: usize| {
            let n = left.min(most);
            push_both(&sql, n);
            left -= n;
        };
        let (n_live, n_before) = (n_said(&runner, LIVE), n_finished(&sql));
        push_some(drip);
        swap(dir.path(), FILE, &versions[number % 2]);
        wait_until("the other version is live", || {
            push_some(drip);
            n_said(&runner, LIVE) > n_live
        });
        n_busy += usize::from(n_finished(&sql) > n_before);
        push_some(n_each);
    }
    let seconds = started.elapsed().as_secs_f64();
    wait_for_finished(&sql, n_tasks);

    assert_completed_once(&sql, n_tasks);
    assert_eq!(
        sql.number("SELECT count(*) FROM pgtq.attempts WHERE kind <> 'release'"),
        0
    );
    assert_eq!(
        sql.number("SELECT count(*) FROM pgtq.history WHERE attempts <> 1"),
        0
    );
    let wrong = sql.rows(
        "SELECT id, result FROM pgtq.history WHERE handler = 'add_numbers' AND result::text <> '5'",
    );
    assert_eq!(wrong, [""; 0]);
    let recorded = sql.rows("SELECT DISTINCT encode(digest, 'hex') FROM pgtq.history ORDER BY 1");
    let mut expected = digests.to_vec();
    expected.sort();
    assert_eq!(
        recorded, expected,
        "digests recorded, the two files' digests"
    );
    // The version in the result matches the digest.
    let rows = sql.rows(
        "SELECT result->>'version', encode(digest, 'hex'), count(*) FROM pgtq.history
         WHERE handler = 'greet' GROUP BY 1, 2 ORDER BY 1",
    );
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows[0].starts_with(&format!("1|{}|", digests[0])),
        "{rows:?}"
    );
    assert!(
        rows[1].starts_with(&format!("2|{}|", digests[1])),
        "{rows:?}"
    );
    eprintln!(
        "{n_swaps} swaps in {seconds:.1} s, tasks ended in {n_busy} of them; {n_tasks} tasks: {rows:?}"
    );
    assert!(n_busy > 0, "no task finished during a swap");
}

#[test]
fn no_task_fails_is_lost_or_runs_twice_while_its_plugin_is_swapped() {
    swap_under_load(40, 4_000);
}

#[test]
#[ignore = "the full figures take a minute in a development build"]
fn two_hundred_swaps_under_twenty_thousand_tasks_lose_nothing() {
    swap_under_load(200, 20_000);
}

#[test]
fn a_broken_file_never_displaces_the_version_that_serves() {
    let (database, sql) = database();
    let dir = plugin_dir(&["hello"]);
    let good = read(dir.path().join(FILE));
    let serving = digest(database.url(), &dir.path().join(FILE));
    let runner = runner(database.url(), dir.path(), "", &[]);
    wait_for_another(&runner, LIVE, 0);

    let mut torn = good.clone();
    let middle = torn.len() / 2;
    torn[middle..].fill(0xff);
    let core_module = b"\0asm\x01\0\0\0".to_vec();
    let broken = [
        Vec::new(),
        b"this is text".to_vec(),
        good[..good.len() / 2].to_vec(),
        torn,
        core_module,
        b"\x7fELF and so on".to_vec(),
    ];
    let mut n_tasks = 0;
    for bytes in &broken {
        push_both(&sql, 200);
        n_tasks += 200;
        let before = n_said(&runner, "plugin hello.wasm: refused");
        swap(dir.path(), FILE, bytes);
        wait_for_another(&runner, "plugin hello.wasm: refused", before);
        // The previous version still serves.
        push_both(&sql, 20);
        n_tasks += 20;
        wait_for_finished(&sql, n_tasks);
    }
    assert_completed_once(&sql, n_tasks);
    let recorded = sql.rows("SELECT DISTINCT encode(digest, 'hex') FROM pgtq.history");
    assert_eq!(recorded, [serving]);

    let before = n_said(&runner, LIVE);
    swap(dir.path(), FILE, &read(hello_version("2")));
    wait_for_another(&runner, LIVE, before);
    let greeting = cli(database.url(), &["push", "greet", "--wait"], "").success();
    assert!(greeting.contains(r#""version":"2""#), "{greeting}");
}

#[test]
fn tasks_of_a_deleted_plugin_wait_until_it_comes_back() {
    let (database, sql) = database();
    let dir = plugin_dir(&["hello", "flaky"]);
    let file = dir.path().join(FILE);
    let away = dir.path().join("hello.away");
    let runner = runner(database.url(), dir.path(), "", &[]);
    wait_for_another(&runner, LIVE, 0);
    wait_for_another(&runner, "plugin flaky.wasm: live", 0);

    push_both(&sql, 500);
    fs::rename(&file, &away).expect("a plugin is taken away");
    wait_for_another(&runner, "plugin hello.wasm: retired", 0);
    // Tasks claimed before the removal may still finish.
    push_both(&sql, 100);
    push(&sql, "flaky.until", 50, "[1]");
    let flaky = "SELECT count(*) FROM pgtq.history WHERE handler = 'flaky.until'";
    wait_until("the other plugin's tasks have ended", || {
        sql.number(flaky) == 50
    });
    wait_until("nothing is held", || {
        sql.number("SELECT count(*) FROM pgtq.claims") == 0
    });
    let waiting = sql.number("SELECT count(*) FROM pgtq.runnable");
    assert!(waiting >= 100, "{waiting} wait");
    assert_eq!(n_finished(&sql) + waiting, 650);

    let before = n_said(&runner, LIVE);
    fs::rename(&away, &file).expect("a plugin is brought back");
    wait_for_another(&runner, LIVE, before);
    wait_for_finished(&sql, 650);
    assert_completed_once(&sql, 650);
    assert_eq!(sql.number("SELECT max(attempts) FROM pgtq.history"), 1);
}

#[test]
fn deploy_and_rollback_return_when_the_version_serves() {
    let (database, _sql) = database();
    let dir = plugin_dir(&["hello"]);
    let runner = runner(database.url(), dir.path(), "", &[]);
    wait_for_another(&runner, LIVE, 0);
    let plugins = dir.path().display().to_string();
    let url = database.url();
    let version = || {
        let text = cli(url, &["push", "greet", "--wait"], "").success();
        let json: serde_json::Value = serde_json::from_str(&text).expect("it prints JSON");
        json["version"]
            .as_str()
            .expect("it has a version")
            .to_owned()
    };
    assert_eq!(version(), "1");

    let next = tempfile::tempdir().expect("a temporary directory is created");
    let next = next.path().join(FILE);
    fs::create_dir_all(next.parent().expect("it has one")).expect("it is there");
    fs::copy(hello_version("2"), &next).expect("a plugin is copied");
    let next = next.display().to_string();
    let deploy = |file: &str| cli(url, &["deploy", file, "--plugins", &plugins, "--wait"], "");
    let done = deploy(&next);
    assert!(done.stderr.contains("live on 1 runner"), "{done:?}");
    done.success();
    assert_eq!(version(), "2");

    fs::write(&next, b"no plugin").expect("a file is written");
    assert_ne!(deploy(&next).code, Some(0));
    assert_eq!(version(), "2");

    let back = cli(
        url,
        &["rollback", FILE, "--plugins", &plugins, "--wait"],
        "",
    );
    assert!(back.stderr.contains("live on 1 runner"), "{back:?}");
    back.success();
    assert_eq!(version(), "1");
}

/// The same component with another digest: with an additional custom section.
fn with_note(mut component: Vec<u8>, note: u8) -> Vec<u8> {
    component.extend([0, 6, 4, b'n', b'o', b't', b'e', note]);
    component
}

#[test]
fn a_running_task_finishes_on_the_version_it_started_with() {
    let (database, sql) = database();
    let dir = plugin_dir(&[]);
    let flaky = read(plugin("flaky"));
    swap(dir.path(), "flaky.wasm", &flaky);
    let config = "[handlers.'flaky.sleep']\ntimeout = '5m'";
    let runner = runner(database.url(), dir.path(), config, &[]);
    let live = "plugin flaky.wasm: live";
    wait_for_another(&runner, live, 0);
    // The duration of a swap depends on the machine. If the task finishes before the
    // swap, a longer one is tried.
    for (note, ms) in (0..).zip([2_000, 8_000, 32_000]) {
        let old = digest(database.url(), &dir.path().join("flaky.wasm"));
        let id = sql.number(&format!("SELECT pgtq.push('flaky.sleep', '[{ms}]')"));
        let running = format!("SELECT count(*) FROM pgtq.running WHERE id = {id}");
        wait_until("the task is claimed", || sql.number(&running) == 1);
        // A slot is free, so the claimed task starts before a later task finishes.
        let next = sql.number("SELECT pgtq.push('flaky.until', '[1]')");
        let ended = |id| {
            sql.number(&format!(
                "SELECT count(*) FROM pgtq.history WHERE id = {id}"
            ))
        };
        wait_until("a later task has ended", || ended(next) == 1);
        let before = n_said(&runner, live);
        swap(dir.path(), "flaky.wasm", &with_note(flaky.clone(), note));
        wait_for_another(&runner, live, before);
        let outlived = ended(id) == 0;
        let new = digest(database.url(), &dir.path().join("flaky.wasm"));
        let after = sql.number("SELECT pgtq.push('flaky.until', '[1]')");
        wait_until("both have ended", || ended(id) == 1 && ended(after) == 1);
        let used = |id| {
            sql.row(&format!(
                "SELECT state, encode(digest, 'hex') FROM pgtq.history WHERE id = {id}"
            ))
        };
        assert_ne!(old, new);
        assert_eq!(used(id), format!("complete|{old}"));
        assert_eq!(used(after), format!("complete|{new}"));
        if outlived {
            return;
        }
    }
    panic!("no task was under way while its plugin was replaced");
}
