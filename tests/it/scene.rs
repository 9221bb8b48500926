//! A database with a plugin directory, and what tests ask of the two.

use std::path::{Path, PathBuf};

use pgtq_tests::{Database, Finished, Runner, RunnerOptions, cli, plugin_dir, wait_until_async};
use tokio_postgres::{Client, SimpleQueryMessage};

/// A migrated database, a plugin directory, a connection.
pub(crate) struct Scene {
    pub(crate) database: Database,
    pub(crate) plugins: tempfile::TempDir,
    pub(crate) client: Client,
}

impl Scene {
    /// With these example plugins in the directory.
    pub(crate) async fn with(plugins: &[&str]) -> Self {
        let database = Database::migrated();
        let client = database.client().await;
        Scene {
            plugins: plugin_dir(plugins),
            client,
            database,
        }
    }

    /// A runner whose handlers, if the directory has plugins, are known to all.
    pub(crate) fn runner(&self, arguments: &[&str]) -> Runner {
        self.runner_under(arguments, &[])
    }

    /// As [`Scene::runner`], with more environment.
    pub(crate) fn runner_under(&self, arguments: &[&str], env: &[(&str, &str)]) -> Runner {
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

    /// Runs pgtq to its end.
    pub(crate) fn pgtq(&self, arguments: &[&str]) -> Finished {
        cli(self.database.url(), arguments, "")
    }

    /// Pushes by the command line, runner or not; the task's id.
    pub(crate) fn push(&self, arguments: &[&str]) -> String {
        let all = [&["push", "--quiet", "--allow-unknown"], arguments].concat();
        self.pgtq(&all).success()
    }

    /// What SQL answers: a line for each row, `|` between columns, `-` for null.
    pub(crate) async fn sql(&self, sql: &str) -> String {
        let answer = self.client.simple_query(sql).await;
        let messages = answer.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
        let mut lines = Vec::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                let cells: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("-")).collect();
                lines.push(cells.join("|"));
            }
        }
        lines.join("\n")
    }

    /// Waits until SQL answers `wanted`.
    pub(crate) async fn wait_sql(&self, sql: &str, wanted: &str) {
        let what = format!("{sql} answers {wanted}");
        wait_until_async(&what, || async { self.sql(sql).await == wanted }).await;
    }

    /// Waits until every task has ended.
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

/// A runner, started and not waited for. All of this process share their compiled
/// code: a plugin is compiled once, not once a test.
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

/// Waits until live runners serve all `wanted` handlers, and one at least. Plugins become live one by
/// one, so name a handler of each.
pub(crate) fn wait_for_handlers(url: &str, wanted: &[&str]) {
    pgtq_tests::wait_until("a live runner serves the handlers", || {
        let served = cli(url, &["plugins", "--handlers", "--output", "ids"], "");
        let served = served.success();
        let served: Vec<&str> = served.lines().collect();
        !served.is_empty() && wanted.iter().all(|name| served.contains(name))
    });
}
