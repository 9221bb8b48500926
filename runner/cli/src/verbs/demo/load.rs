//! The load of the tour: the Markdown files of this repository, images and thousands of
//! additions; then the latency of single tasks on an idle runner.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::guide::Guide;
use super::stage::DemoEnvironment;
use crate::error::Problem;
use crate::{progress, sources, text};
use pgtq_task::{MAX_ARGS_BYTES, Name, NewTask, TaskId};

/// Time limit of the load.
const LIMIT: Duration = Duration::from_secs(600);
/// Number of single pushes that are timed.
const SAMPLES: usize = 100;

/// The result of the load.
pub(crate) struct Load {
    pub(crate) pushed: u64,
    pub(crate) failed: u64,
    pub(crate) seconds: Duration,
    /// One task of each kind, whose result is printed.
    shown: Vec<(String, TaskId)>,
}

impl Load {
    pub(crate) fn rate(&self) -> f64 {
        (self.pushed as f64 / self.seconds.as_secs_f64().max(1e-9)).round()
    }
}

/// The latency of single tasks.
pub(crate) struct Latency {
    pub(crate) start_p50: Duration,
    pub(crate) start_p99: Duration,
    pub(crate) result_p50: Duration,
}

/// Pushes all tasks in one transaction and waits until they have finished.
pub(crate) async fn run(
    guide: Guide<'_>,
    stage: &DemoEnvironment,
    n_sums: u32,
) -> Result<Load, Problem> {
    let mut tasks = Vec::new();
    let mut shown = Vec::new();
    let mut kinds = Vec::new();
    for (what, more) in [
        ("Markdown files of this repository", documents(stage)),
        ("images", images(stage)),
        ("sums", sums(n_sums)?),
    ] {
        if let Some((label, _)) = more.first() {
            shown.push((tasks.len(), label.clone()));
            kinds.push(format!("{} {what}", text::count(more.len() as u64)));
        }
        tasks.extend(more.into_iter().map(|(_, task)| task));
    }
    let total = tasks.len() as u64;
    guide.begin(format!("pushing {}", kinds.join(", "))).await?;
    let stats = &stage.runner.stats;
    let before = stats.n_final();
    let started = Instant::now();
    let pushed = stage.store.push(&tasks).await?;
    let pushing = started.elapsed();
    let bar = progress::bar(guide.context, total, "done");
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while stats.n_final() - before < total {
        tick.tick().await;
        bar.set_position(stats.n_final() - before);
        if started.elapsed() > LIMIT {
            return Err(
                Problem::failed("the tasks did not finish within ten minutes")
                    .help("list them: pgtq tasks state:running"),
            );
        }
    }
    let seconds = started.elapsed();
    bar.finish_and_clear();
    let failed = stats.failed.load(std::sync::atomic::Ordering::Relaxed);
    let load = Load {
        pushed: total,
        failed,
        seconds,
        shown: shown
            .into_iter()
            .filter_map(|(i, label)| Some((label, pushed.get(i)?.id)))
            .collect(),
    };
    guide
        .done(
            format!("{} done, {failed} failed", text::tasks(total)),
            format!(
                "{} tasks/s including the push, which took {}",
                text::count(load.rate() as u64),
                text::fine(pushing)
            ),
        )
        .await?;
    Ok(load)
}

/// Measures single tasks on the idle runner.
pub(crate) async fn latency(guide: Guide<'_>, stage: &DemoEnvironment) -> Result<Latency, Problem> {
    let name = Name::new("add_numbers")?;
    let mut starts = Vec::with_capacity(SAMPLES);
    let mut results = Vec::with_capacity(SAMPLES);
    for i in 0..SAMPLES {
        let pushed = Instant::now();
        let ended = stage
            .result_of(NewTask::new(name.clone(), json!([i, 1]).to_string()))
            .await?;
        results.push(pushed.elapsed());
        if let Some(at) = ended.task.started_at {
            let waited = at.duration_since(ended.task.pushed_at);
            starts.push(Duration::try_from(waited).unwrap_or_default());
        }
    }
    starts.sort_unstable();
    results.sort_unstable();
    let at = |sorted: &[Duration], share: f64| {
        let index = (sorted.len() as f64 * share) as usize;
        sorted
            .get(index.min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    let latency = Latency {
        start_p50: at(&starts, 0.5),
        start_p99: at(&starts, 0.99),
        result_p50: at(&results, 0.5),
    };
    guide
        .done(
            format!(
                "push to start {} (p50), {} (p99)",
                text::fine(latency.start_p50),
                text::fine(latency.start_p99)
            ),
            format!(
                "{SAMPLES} single pushes; push to result {} (p50)",
                text::fine(latency.result_p50)
            ),
        )
        .await?;
    Ok(latency)
}

/// Prints one result of each kind.
pub(crate) async fn results(
    guide: Guide<'_>,
    stage: &DemoEnvironment,
    load: &Load,
) -> Result<(), Problem> {
    for (label, id) in &load.shown {
        let Some(detail) = stage.store.task(*id).await? else {
            continue;
        };
        guide
            .begin(format!("result of {label}      pgtq show {id}"))
            .await?;
        guide
            .detail(brief(detail.task.result.as_deref().unwrap_or("none")))
            .await?;
    }
    Ok(())
}

/// A result on one line, with long strings truncated.
fn brief(result: &str) -> String {
    let mut value: Value = serde_json::from_str(result).unwrap_or_default();
    cut(&mut value);
    text::line(&value.to_string(), 160)
}

fn cut(value: &mut Value) {
    match value {
        Value::String(long) if long.chars().count() > 40 => *long = text::line(long, 40),
        Value::Array(items) => items.iter_mut().for_each(cut),
        Value::Object(fields) => fields.values_mut().for_each(cut),
        _ => {}
    }
}

fn sums(n: u32) -> Result<Vec<(String, NewTask)>, Problem> {
    let name = Name::new("add_numbers")?;
    let task = |i: u32| NewTask::new(name.clone(), format!("{{\"a\":{i},\"b\":{i}}}"));
    Ok((1..=n).map(|i| (format!("{i} + {i}"), task(i))).collect())
}

fn documents(stage: &DemoEnvironment) -> Vec<(String, NewTask)> {
    let root = stage.sources.parent().unwrap_or(Path::new("."));
    files(stage, "markdown.wasm", root, &["md"], |bytes| {
        String::from_utf8(bytes).ok()
    })
}

fn images(stage: &DemoEnvironment) -> Vec<(String, NewTask)> {
    let samples = stage.sources.join("images/samples");
    files(stage, "images.wasm", &samples, &["png", "jpg"], |bytes| {
        Some(base64(&bytes))
    })
}

/// One task for each file with one of these extensions. Its first handler gets the content
/// as first parameter.
fn files(
    stage: &DemoEnvironment,
    plugin: &str,
    root: &Path,
    endings: &[&str],
    encode: impl Fn(Vec<u8>) -> Option<String>,
) -> Vec<(String, NewTask)> {
    let Some(handler) = stage.handler_of(plugin) else {
        return Vec::new();
    };
    let Some(parameter) = handler.positional.first() else {
        return Vec::new();
    };
    let mut tasks = Vec::new();
    sources::walk(root, 0, &mut |path| {
        let wanted = path
            .extension()
            .is_some_and(|ending| endings.iter().any(|known| ending == *known));
        let text = wanted
            .then(|| std::fs::read(path).ok())
            .flatten()
            .and_then(&encode);
        let Some(text) = text else { return };
        let mut arguments = Map::new();
        arguments.insert(parameter.clone(), text.into());
        let arguments = Value::Object(arguments).to_string();
        if arguments.len() <= MAX_ARGS_BYTES {
            let label = path
                .strip_prefix(root)
                .unwrap_or(path)
                .display()
                .to_string();
            tasks.push((
                format!("{} {label}", handler.name),
                NewTask::new(handler.name.clone(), arguments),
            ));
        }
    });
    tasks.sort_by(|a, b| a.0.cmp(&b.0));
    tasks
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for i in 0..4 {
            let digit = (bits >> (18 - 6 * i)) & 63;
            text.push(if i <= chunk.len() {
                char::from(DIGITS[digit as usize])
            } else {
                '='
            });
        }
    }
    text
}
