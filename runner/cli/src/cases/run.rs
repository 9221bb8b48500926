//! Runs a case.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;

use super::case::Case;
use super::fakes::{FakeSql, Fakes};
use super::files::Directories;
use super::observed::{self, Observed};
use crate::config::Config;
use crate::error::Problem;
use crate::machine::{self, LoadedPlugin};
use crate::memory::Memory;
use pgtq_sandbox::{Sandbox, SandboxConfig};
use pgtq_task::{
    Attempt, ClaimId, ErrorKind, Failure, Grant, GrantBook, GrantReport, Handler, HostRule,
    LimitRequest, Needs, Outcome, Report, Secret, SecretGrant, Signal, SqlGrant, Task,
};

/// The sandbox in which cases run in sequence.
pub(crate) struct CaseRunner {
    sandbox: Sandbox,
    fakes: Arc<Fakes>,
    grants: Arc<ArcSwap<GrantBook>>,
    /// The granted limits of plugins.
    limits: GrantBook,
}

/// A plugin file whose handlers can be called.
pub(crate) struct Plugin {
    name: String,
    handlers: Vec<Arc<dyn Handler>>,
}

impl CaseRunner {
    /// Creates a sandbox with the limits of the configuration, but not its capabilities.
    pub(crate) fn new(config: &Config) -> Result<CaseRunner, Problem> {
        let fakes = Arc::<Fakes>::default();
        let limits = config.grants.limits();
        let grants = Arc::new(ArcSwap::from_pointee(limits.clone()));
        let sandbox = Sandbox::new(SandboxConfig {
            fake_http: Some(Arc::clone(&fakes) as _),
            grants: Arc::clone(&grants),
            cap: config.limits.uncapped(),
            ..machine::settings(config, 2)?
        })?;
        Ok(CaseRunner {
            sandbox,
            fakes,
            grants,
            limits,
        })
    }

    /// Loads a plugin like a runner.
    pub(crate) async fn load(&self, file: &std::path::Path) -> Result<Plugin, Problem> {
        let LoadedPlugin {
            plugin,
            compiled,
            manifest,
            ..
        } = machine::load(&self.sandbox, file).await?;
        Ok(Plugin {
            handlers: compiled.handlers(&manifest, &plugin),
            name: plugin,
        })
    }

    /// Runs a case. The error is the reason why it cannot run.
    pub(crate) async fn run(&self, plugin: &Plugin, case: &Case) -> Result<Observed, String> {
        let handler = plugin.handler(case)?;
        let needs = without(&handler.info().needs, &case.refuse)?;
        let directories = Directories::make(&needs.files, &case.files)?;
        let mut book = GrantBook::default();
        let limits = self.limits.of(&plugin.name).limits;
        let grant = grant(&needs, &directories, limits);
        book.plugins.insert(plugin.name.clone(), Arc::new(grant));
        let secrets = case.secrets.iter();
        book.secrets = secrets
            .map(|(name, value)| (name.clone(), Secret::new(value)))
            .collect();
        self.grants.store(Arc::new(book));
        self.fakes.begin(case);

        let saved: BTreeMap<String, String> = case
            .state
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect();
        let sql = Arc::new(FakeSql(Arc::clone(&self.fakes)));
        let database = Arc::new(Memory::new(saved.clone(), sql));
        let attempt = Attempt {
            task: Arc::new(task(case)),
            claim: ClaimId(0),
            signal: Arc::new(Signal::default()),
            database: Arc::clone(&database) as _,
        };
        let mut report = handler.call(attempt).await;
        let state = settle(&mut report, &database);
        let script = self.fakes.end();

        let mut facts = serde_json::Map::new();
        let mut put = |word: &str, value: Value| drop(facts.insert(word.to_owned(), value));
        let (word, value) = observed::outcome(&report.outcome);
        put(word, value);
        put(
            "pushed",
            report
                .record
                .children
                .iter()
                .map(observed::pushed)
                .collect(),
        );
        put(
            "logs",
            report.record.logs.iter().map(observed::log).collect(),
        );
        let loose_ends = [script.unanswered.clone(), script.unused()].concat();
        put("http_requests", Value::Array(script.requests));
        put("sql_statements", Value::Array(script.statements));
        put("state", observed::state(&state));
        put(
            "files",
            serde_json::to_value(directories.texts()).unwrap_or_default(),
        );
        Ok(Observed {
            facts,
            loose_ends,
            usage: report.record.usage,
        })
    }
}

impl Plugin {
    fn handler(&self, case: &Case) -> Result<&Arc<dyn Handler>, String> {
        let names = || self.handlers.iter().map(|h| h.info().name.as_str());
        let found = self
            .handlers
            .iter()
            .find(|handler| handler.info().name == case.handler);
        found.ok_or_else(|| {
            let all = names().collect::<Vec<_>>().join(", ");
            format!(
                "the plugin has no handler `{}`; its handlers are {all}",
                case.handler
            )
        })
    }
}

/// Ends the attempt in the database. If a runner could not commit it, it fails and pushes
/// nothing.
fn settle(report: &mut Report, database: &Memory) -> BTreeMap<String, String> {
    let succeeded = matches!(report.outcome, Outcome::Complete { .. });
    let (state, doom) = database.end(succeeded);
    if let (true, Some(doom)) = (succeeded, doom) {
        let mut failure = Failure::new(
            ErrorKind::Sql,
            format!(
                "nothing was committed: a statement failed and the handler continued; make it return the error instead: {}",
                doom.message
            ),
        );
        failure.code = doom.code;
        report.outcome = Outcome::Retry {
            failure,
            after: None,
        };
    }
    if !matches!(report.outcome, Outcome::Complete { .. }) {
        report.record.children.clear();
    }
    state
}

fn task(case: &Case) -> Task {
    Task {
        id: case.task.id(),
        queue: case.task.queue.clone(),
        handler: case.handler.clone(),
        priority: 0,
        args: case.args.to_string(),
        attempts: case.attempt - 1,
        crashes: 0,
        retries: None,
        pushed_at: case.task.pushed_at,
        due_at: case.task.pushed_at,
        key: case.task.key.clone(),
        parent: None,
        traits: None,
    }
}

/// The needs without the denied ones. A name that matches no need is an error.
fn without(needs: &Needs, refuse: &[String]) -> Result<Needs, String> {
    let mut left = needs.clone();
    for word in refuse {
        let before = left.clone();
        match word.as_str() {
            "http" => left.http.clear(),
            "tcp" => left.tcp.clear(),
            "sql" => left.sql = false,
            "secrets" => left.secrets.clear(),
            "files" => left.files.clear(),
            "push" => left.push.clear(),
            one => {
                left.http.retain(|rule| rule.to_string() != one);
                left.tcp.retain(|rule| rule.to_string() != one);
                left.secrets.retain(|name| name != one);
                left.files.retain(|dir| dir != one);
                left.push.retain(|rule| rule.to_string() != one);
            }
        }
        if left == before {
            let asked = GrantReport::all(&before, &Grant::default());
            let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
            return Err(match asked.as_slice() {
                [] => format!("`refuse` names `{word}`, but the handler requests nothing else"),
                asked => format!(
                    "`refuse` names `{word}`, but the handler requests: {}; write http, tcp, sql, secrets, files, push, or one rule, name or directory",
                    asked.join(", ")
                ),
            });
        }
    }
    Ok(left)
}

/// Grants all needs for which a case can contain responses. There are none for TCP, and a
/// test must not connect to real servers.
fn grant(needs: &Needs, directories: &Directories, limits: LimitRequest) -> Grant {
    let secret = SecretGrant {
        hosts: vec![HostRule::Any],
        read: true,
    };
    let secrets = needs.secrets.iter();
    Grant {
        http: needs.http.clone(),
        tcp: Vec::new(),
        networks: Vec::new(),
        sql: needs.sql.then(|| SqlGrant {
            role: "case".to_owned(),
            password: None,
            statement_timeout: std::time::Duration::from_secs(5),
            connections: 1,
        }),
        secrets: secrets.map(|name| (name.clone(), secret.clone())).collect(),
        files: directories.grants(),
        push: needs.push.clone(),
        limits,
    }
}
