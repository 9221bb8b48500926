//! `pgtq push --batch`: pushes one task per line of a file. Checks all lines before it
//! pushes the first one, then pushes them in chunks of one transaction each.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};

use serde_json::value::RawValue;

use pgtq_store::Store;
use pgtq_task::{Name, NewTask, Retries};

use super::context::Context;
use super::error::{Exit, Problem};
use super::known::Handlers;
use super::{arguments, machine, progress, text};

/// Tasks per transaction.
pub(crate) const CHUNK: usize = 5_000;
/// Maximum length of a line: twice the limit of arguments for escapes, with a margin.
const MAX_LINE: u64 = 4 << 20;

/// What to push.
pub(crate) struct Batch<'a> {
    /// A file name, or `-`.
    pub(crate) path: &'a str,
    /// With a handler, each line contains only arguments.
    pub(crate) handler: Option<Name>,
    /// Number of lines to skip at the start.
    pub(crate) skip: u64,
    /// The fields of every task that are set by options.
    pub(crate) template: NewTask,
}

/// The format of a line if the command line names no handler.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchLine {
    handler: Name,
    #[serde(default)]
    args: Option<Box<RawValue>>,
    #[serde(default)]
    queue: Option<Name>,
    #[serde(default)]
    priority: Option<i32>,
    #[serde(default)]
    delay: Option<String>,
    #[serde(default)]
    run_at: Option<String>,
    #[serde(default)]
    retries: Option<Retries>,
    #[serde(default)]
    key: Option<String>,
}

/// Checks the whole file, then pushes it.
pub(crate) async fn run(
    context: &Context,
    store: &Store,
    known: &Handlers,
    batch: &Batch<'_>,
) -> Result<(), Problem> {
    let mut file = open(batch.path)?;
    let mut total = 0;
    let checking = progress::spinner(context, format!("checking {}", batch.path));
    each(&mut file, |number, line| {
        if number > batch.skip {
            task(batch, known, line).map_err(|problem| at_line(number, problem))?;
            total += 1;
        }
        Ok(())
    })?;
    checking.finish_and_clear();
    let bar = progress::bar(context, total, "pushed");
    let mut sender = Sender {
        context,
        store,
        chunk: Vec::new(),
        pushed: 0,
        existed: 0,
        first_line: batch.skip,
    };
    file.seek(SeekFrom::Start(0))?;
    let mut reader = NumberedLines::new(&mut file);
    while let Some((number, line)) = reader.next_line()? {
        if number <= batch.skip {
            continue;
        }
        let task = task(batch, known, &line).map_err(|problem| at_line(number, problem))?;
        sender.chunk.push(task);
        if sender.chunk.len() == CHUNK {
            sender.flush(number).await?;
            bar.set_position(sender.pushed);
        }
    }
    sender.flush(u64::MAX).await?;
    bar.finish_and_clear();
    context.note(format!(
        "queued {}{}",
        text::tasks(sender.pushed - sender.existed),
        match sender.existed {
            0 => String::new(),
            n => format!(", {} already existed", text::count(n)),
        }
    ));
    Ok(())
}

/// Parses and checks the task of one line.
fn task(batch: &Batch<'_>, known: &Handlers, line: &str) -> Result<NewTask, Problem> {
    let mut task = batch.template.clone();
    if let Some(handler) = &batch.handler {
        task.handler = handler.clone();
        task.args = line.to_owned();
    } else {
        let line: BatchLine = serde_json::from_str(line).map_err(|error| {
            Problem::usage(format!("not a task: {error}"))
                .help("write {\"handler\": \"…\", \"args\": {…}}; with HANDLER on the command line, write only the arguments")
        })?;
        task.handler = line.handler;
        task.args = line
            .args
            .map_or_else(|| "{}".to_owned(), |raw| raw.get().to_owned());
        task.queue = line.queue.or(task.queue);
        task.priority = line.priority.unwrap_or(task.priority);
        if let Some(delay) = line.delay {
            task.delay = Some(crate::config::values::duration(&delay).map_err(Problem::usage)?);
        }
        if let Some(at) = line.run_at {
            task.run_at = Some(crate::config::values::timestamp(&at).map_err(Problem::usage)?);
        }
        task.retries = line.retries.or(task.retries);
        task.key = line.key.or(task.key);
    }
    arguments::size(&task.args)?;
    let value = arguments::parse(&task.args)?;
    if let Some(info) = known.find(&task.handler)? {
        arguments::fit(info, &value)?;
    }
    Ok(task)
}

fn at_line(number: u64, mut problem: Problem) -> Problem {
    problem.message = format!("line {number}: {}", problem.message);
    problem
        .help
        .push("no task of this file was pushed".to_owned());
    problem
}

struct Sender<'a> {
    context: &'a Context,
    store: &'a Store,
    chunk: Vec<NewTask>,
    pushed: u64,
    existed: u64,
    /// Number of lines that are known to be pushed.
    first_line: u64,
}

impl Sender<'_> {
    async fn flush(&mut self, line: u64) -> Result<(), Problem> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let pushed = self.store.push(&self.chunk).await.map_err(|error| {
            let again = match self.first_line {
                0 => "no task was pushed, unless only the server's reply was lost".to_owned(),
                n => format!("lines 1 to {n} were pushed; continue with --skip {n}"),
            };
            Problem::from(error).help(again)
        })?;
        self.pushed += pushed.len() as u64;
        self.existed += pushed.iter().filter(|one| one.existed).count() as u64;
        self.first_line = line;
        self.chunk.clear();
        let ids: String = match self.context.out.is_json() {
            true => pushed
                .iter()
                .map(|one| {
                    format!(
                        "{}\n",
                        serde_json::json!({"id": one.id, "existed": one.existed})
                    )
                })
                .collect(),
            false => pushed.iter().map(|one| format!("{}\n", one.id)).collect(),
        };
        self.context.out.raw(&ids)
    }
}

/// Opens the file. Copies standard input to a temporary file, because it is read twice.
fn open(path: &str) -> Result<File, Problem> {
    if path != "-" {
        return File::open(path).map_err(|error| {
            let exit = match error.kind() {
                std::io::ErrorKind::NotFound => Exit::NotFound,
                _ => Exit::Failed,
            };
            Problem::new(exit, format!("cannot read `{path}`: {error}"))
        });
    }
    let wrong = |error| {
        machine::no_temporary(&error).help(
            "or pass a file name instead of `-`: standard input is copied to a temporary file",
        )
    };
    let mut spool = tempfile::tempfile().map_err(wrong)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut spool).map_err(wrong)?;
    spool.seek(SeekFrom::Start(0))?;
    Ok(spool)
}

fn each(
    file: &mut File,
    mut with: impl FnMut(u64, &str) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut lines = NumberedLines::new(file);
    while let Some((number, line)) = lines.next_line()? {
        with(number, &line)?;
    }
    Ok(())
}

/// The lines that are not blank, with their numbers.
struct NumberedLines<'a> {
    reader: BufReader<&'a mut File>,
    number: u64,
}

impl<'a> NumberedLines<'a> {
    fn new(file: &'a mut File) -> Self {
        NumberedLines {
            reader: BufReader::new(file),
            number: 0,
        }
    }

    fn next_line(&mut self) -> Result<Option<(u64, String)>, Problem> {
        loop {
            let mut bytes = Vec::new();
            let mut limited = std::io::Read::take(&mut self.reader, MAX_LINE + 1);
            if limited.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let wrong = |why: &str| at_line(self.number, Problem::usage(why));
            if bytes.len() as u64 > MAX_LINE {
                return Err(wrong("the line is longer than 4 MiB"));
            }
            let line =
                String::from_utf8(bytes).map_err(|_| wrong("the line is not valid UTF-8"))?;
            let line = line.trim();
            if !line.is_empty() {
                return Ok(Some((self.number, line.to_owned())));
            }
        }
    }
}
