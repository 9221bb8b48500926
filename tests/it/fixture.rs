//! The fixture of most tests: a database and a plugin directory.

use std::path::{Path, PathBuf};

use pgtq_tests::{Database, Finished, Runner, RunnerOptions, cli, plugin_dir, wait_until_async};
use tokio_postgres::{Client, SimpleQueryMessage};

/// A migrated database, a plugin directory, a connection.
pub(crate) struct Fixture {
    pub(crate) database: Database,
    pub(crate) plugins: tempfile::TempDir,
    pub(crate) client: Client,
}

impl Fixture {
    /// Creates a fixture with these example plugins.
    pub(crate) async fn with(plugins: &[&str]) -> Self {
        let database = Database::migrated();
        let client = database.client().await;
        Fixture {
            plugins: plugin_dir(plugins),
            client,
            database,
        }
    }

    /// Starts a runner. If the directory has plugins, waits until their handlers are
    /// registered.
    pub(crate) fn runner(&self, arguments: &[&str]) -> Runner {
        self.runner_with_env(arguments, &[])
    }

    /// As [`Fixture::runner`], with additional environment variables.
    pub(crate) fn runner_with_env(&self, arguments: &[&str], env: &[(&str, &str)]) -> Runner {
        let mut runner = start(self.database.url(), self.plugins.path(), arguments, env);
        runner.wait_for("running");
        let mut files = self
            .plugins
            .path()
            .read_dir()
            .into_iter()
            .flatten()
            .flatten();
        if files.any(|file| file.path().extension().is_some_and(|end| end == "wasm")) {
            wait_for_handlers(self.database.url(), &[]);
        }
        runner
    }

    /// Runs pgtq until it exits.
    pub(crate) fn pgtq(&self, arguments: &[&str]) -> Finished {
        cli(self.database.url(), arguments, "")
    }

    /// Pushes a task with the command line, also without a runner. Returns its id.
    pub(crate) fn push(&self, arguments: &[&str]) -> String {
        let all = [&["push", "--quiet", "--allow-unknown"], arguments].concat();
        self.pgtq(&all).success()
    }

    /// The result of a statement: one line per row, columns separated by `|`, `-` for
    /// NULL.
    pub(crate) async fn sql(&self, sql: &str) -> String {
        let result = self.client.simple_query(sql).await;
        let messages = result.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
        let mut lines = Vec::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                let cells: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("-")).collect();
                lines.push(cells.join("|"));
            }
        }
        lines.join("\n")
    }

    /// Waits until a statement returns `expected`.
    pub(crate) async fn wait_sql(&self, sql: &str, expected: &str) {
        let what = format!("{sql} returns {expected}");
        wait_until_async(&what, || async { self.sql(sql).await == expected }).await;
    }

    /// Waits until every task is finished.
    pub(crate) async fn wait_all(&self) {
        let open =
            "SELECT count(*) FROM pgtq.tasks WHERE state IN ('scheduled', 'runnable', 'running')";
        self.wait_sql(open, "0").await;
    }

    /// Waits until the runners report this file in this state.
    pub(crate) fn wait_file(&self, file: &str, state: &str) -> String {
        let mut found = String::new();
        pgtq_tests::wait_until(&format!("{file} is {state}"), || {
            let listed = self.pgtq(&["plugins"]).success();
            let line = listed.lines().find(|line| {
                let mut cells = line.split('\t');
                cells.next() == Some(file) && cells.next() == Some(state)
            });
            found = line.unwrap_or_default().to_owned();
            line.is_some()
        });
        found
    }
}

/// Starts a runner without waiting for it. All runners of this process share a cache of
/// compiled code.
pub(crate) fn start(url: &str, plugins: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Runner {
    let cache = compiled().to_string_lossy().into_owned();
    let mut all = vec![("PGTQ_CACHE".to_owned(), cache)];
    all.extend(
        env.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let options = RunnerOptions {
        arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
        env: all,
    };
    Runner::start(url, plugins, &options)
}

fn compiled() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")
}

/// Waits until live runners serve all `expected` handlers, and at least one. Plugins are
/// loaded one by one, so pass a handler of each.
pub(crate) fn wait_for_handlers(url: &str, expected: &[&str]) {
    pgtq_tests::wait_until("a live runner serves the handlers", || {
        let served = cli(url, &["plugins", "--handlers", "--output", "ids"], "");
        let served = served.success();
        let served: Vec<&str> = served.lines().collect();
        !served.is_empty() && expected.iter().all(|name| served.contains(name))
    });
}
