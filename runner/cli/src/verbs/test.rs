//! `pgtq test`: runs the golden cases of plugins in the sandbox, without a database and
//! network: a case contains their responses.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cases::case::{self, Case};
use crate::cases::check::{Difference, check};
use crate::cases::run::{CaseRunner, Plugin};
use crate::cases::update;
use crate::config::Config;
use crate::context::Context;
use crate::error::Problem;
use crate::output::{Cell, Rows};
use crate::text;
use pgtq_setup::toolchain::{BuildOptions, Toolchain, build_plugin};
use pgtq_task::Usage;

/// Limit on the cases of one plugin.
const MAX_CASES: usize = 10_000;

/// Arguments of `pgtq test`.
#[derive(Debug, Args)]
#[command(
    after_help = "A golden case is a JSON file, for example cases/adds.json:\n  {\"handler\": \"add_numbers\", \"args\": {\"a\": 2, \"b\": 3}, \"expect\": {\"result\": 5}}\n\
                  docs/grants.md describes all fields. Exit status: 1 if a case fails, 3 if there is no case."
)]
pub(crate) struct TestArgs {
    /// Plugin crates to build and test, or .wasm files
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// Directory of the cases [default: `cases` in the crate or next to the .wasm file]
    #[arg(long, value_name = "DIR")]
    pub(crate) cases: Option<PathBuf>,
    /// Run only cases whose name contains this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Write the actual outcome to cases that fail or expect nothing yet
    #[arg(long)]
    pub(crate) update: bool,
}

/// A plugin file and the directory of its cases.
struct Subject {
    wasm: PathBuf,
    cases: PathBuf,
}

/// The result of a case.
struct CaseResult {
    name: String,
    path: PathBuf,
    differences: Vec<Difference>,
    usage: Usage,
    updated: bool,
}

pub(crate) async fn run(args: TestArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let stage = CaseRunner::new(&config)?;
    let mut ended = Vec::new();
    let mut looked = Vec::new();
    for subject in tokio::task::block_in_place(|| subjects(&args, context, &config))? {
        let files = files(&subject.cases, args.only.as_deref())?;
        looked.push(subject.cases.display().to_string());
        if files.is_empty() {
            continue;
        }
        let plugin = stage.load(&subject.wasm).await?;
        for (name, path) in files {
            ended.push(one(&stage, &plugin, name, path, args.update).await);
        }
    }
    if ended.is_empty() {
        return Err(
            Problem::not_found(format!("no cases found in {}", looked.join(", ")))
                .help("write a case, such as {\"handler\": \"NAME\", \"args\": {}} as cases/first.json")
                .help("then record its outcome with `pgtq test --update`"),
        );
    }
    show(context, &ended)
}

/// Builds the crates among the paths.
fn subjects(args: &TestArgs, context: &Context, config: &Config) -> Result<Vec<Subject>, Problem> {
    let mut subjects = Vec::new();
    for path in &args.paths {
        // `pgtq test media` also finds plugins/media.
        let among = config.run.plugins.join(path);
        let path = match path.exists() || !among.exists() {
            true => path.clone(),
            false => among,
        };
        if path.is_file() {
            let beside = path.parent().unwrap_or(Path::new(".")).join("cases");
            subjects.push(Subject {
                wasm: path,
                cases: args.cases.clone().unwrap_or(beside),
            });
            continue;
        }
        if !path.join("Cargo.toml").is_file() {
            let place = path.display();
            return Err(Problem::not_found(format!(
                "`{place}` is neither a plugin file nor a crate"
            ))
            .help("pass the directory of a crate, or a .wasm file"));
        }
        let dir = path.canonicalize()?;
        let toolchain = Toolchain::ensure(&dir, &|line| context.say(line))?;
        let built = build_plugin(&toolchain, &dir, &BuildOptions::default())?;
        subjects.extend(built.artifacts.into_iter().map(|artifact| Subject {
            cases: args.cases.clone().unwrap_or(artifact.dir.join("cases")),
            wasm: artifact.wasm,
        }));
    }
    Ok(subjects)
}

/// The case files of a directory with their names, sorted.
fn files(dir: &Path, only: Option<&str>) -> Result<Vec<(String, PathBuf)>, Problem> {
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let place = dir.display();
            return Err(Problem::failed(format!("cannot read `{place}`: {error}")));
        }
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<(String, PathBuf)> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let stem = path.file_stem().unwrap_or_default();
            (stem.to_string_lossy().into_owned(), path)
        })
        .filter(|(name, _)| only.is_none_or(|part| name.contains(part)))
        .collect();
    files.sort();
    match files.len() > MAX_CASES {
        true => Err(Problem::failed(format!(
            "more than {MAX_CASES} cases in `{}`",
            dir.display()
        ))),
        false => Ok(files),
    }
}

async fn one(
    stage: &CaseRunner,
    plugin: &Plugin,
    name: String,
    path: PathBuf,
    update: bool,
) -> CaseResult {
    let mut ended = CaseResult {
        name,
        path,
        differences: Vec::new(),
        usage: Usage::default(),
        updated: false,
    };
    if let Err(reason) = attempt(stage, plugin, update, &mut ended).await {
        ended.differences = vec![Difference {
            at: "the case".to_owned(),
            expected: reason,
            got: String::new(),
        }];
    }
    ended
}

async fn attempt(
    stage: &CaseRunner,
    plugin: &Plugin,
    update: bool,
    ended: &mut CaseResult,
) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let bytes = std::fs::metadata(&ended.path).map_err(failed)?.len();
    if bytes > case::MAX_BYTES {
        return Err(format!("the file is larger than {} bytes", case::MAX_BYTES));
    }
    let text = std::fs::read_to_string(&ended.path).map_err(failed)?;
    let case = Case::read(&text)?;
    let observed = stage.run(plugin, &case).await?;
    ended.usage = observed.usage;
    ended.differences = check(&case, &observed);
    // An update cannot resolve loose ends, such as unused responses.
    if update && !ended.differences.is_empty() && observed.loose_ends.is_empty() {
        let updated = update::updated(&text, &case, &observed)?;
        std::fs::write(&ended.path, updated).map_err(failed)?;
        ended.differences.clear();
        ended.updated = true;
    }
    Ok(())
}

fn show(context: &Context, all: &[CaseResult]) -> Result<(), Problem> {
    let mut rows = Rows::new("pgtq.cases/v1", &["case", "result", "time", "fuel"]);
    for ended in all {
        let word = match (ended.differences.is_empty(), ended.updated) {
            (false, _) => "failed",
            (true, true) => "updated",
            (true, false) => "ok",
        };
        let usage = &ended.usage;
        let seconds = usage.wall.as_secs_f64();
        let cells = vec![
            ended.name.as_str().into(),
            word.into(),
            Cell::new(text::fine(usage.wall), format!("{seconds:.6}")),
            Cell::count(usage.fuel),
        ];
        let json = serde_json::json!({
            "case": ended.name, "file": ended.path.display().to_string(), "result": word,
            "seconds": seconds, "fuel": usage.fuel, "memory": usage.peak_memory,
            "differences": ended.differences,
        });
        rows.push(&ended.name, cells, json);
    }
    context.out.rows(&rows)?;
    let failed: Vec<&CaseResult> = all.iter().filter(|e| !e.differences.is_empty()).collect();
    for ended in &failed {
        context.note(differences(ended));
    }
    match failed.len() {
        0 => Ok(()),
        n => Err(
            Problem::failed(format!("{n} of {} cases failed", all.len()))
                .help("if the new outcomes are correct: pgtq test --update"),
        ),
    }
}

/// Formats the differences of one case.
fn differences(ended: &CaseResult) -> String {
    let mut text = format!("\n\x1b[1m{}\x1b[0m  {}", ended.name, ended.path.display());
    for difference in &ended.differences {
        text.push_str(&format!("\n  {}", text::safe(&difference.at)));
        let is_sentence = difference.got.is_empty() && difference.at == "the case";
        let (minus, plus) = match is_sentence {
            true => ("\x1b[31m!\x1b[0m", ""),
            false => ("\x1b[31m-\x1b[0m", "\x1b[32m+\x1b[0m"),
        };
        for (mark, side) in [(minus, &difference.expected), (plus, &difference.got)] {
            for line in text::safe(side).lines() {
                text.push_str(&format!("\n    {mark} {line}"));
            }
        }
    }
    text
}
