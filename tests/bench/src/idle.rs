//! `idle`: an idle runner process, measured for `--seconds`: its memory without plugins and
//! with `--files` plugins, and its share of one processor. Linux only: it reads /proc.

use std::path::Path;
use std::time::{Duration, Instant};

use pgtq::bench::{BenchEnvironment, Field, Figure, Problem};
use tokio::process::{Child, Command};

use crate::args::LabArgs;
use crate::start;

/// The timeout for the start of a runner.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    let bare = watch(stage, 0).await?;
    let n = args.files;
    let loaded = watch(stage, n).await?;
    let each = (loaded.resident - bare.resident) / f64::from(n);
    Ok(vec![
        Figure::new("resident, no plugin", bare.resident, "MiB").target("≤ 40"),
        Figure::new(format!("resident, {n} plugins"), loaded.resident, "MiB"),
        Figure::new("resident, each plugin", each, "MiB").target("≤ 1"),
        Figure::new("share of a processor", bare.share * 100.0, "%").target("≤ 0.2"),
        Figure::new(
            format!("share of a processor, {n} plugins"),
            loaded.share * 100.0,
            "%",
        ),
    ])
}

struct Seen {
    resident: f64,
    share: f64,
}

async fn watch(stage: &BenchEnvironment<'_>, files: u32) -> Result<Seen, Problem> {
    let dir = start::plugins(stage, files).await?;
    let field = stage.field().await?;
    let process = Process::start(&field, &dir)?;
    let started = Instant::now();
    // A runner registers its handlers after it has loaded all plugins.
    let up = |handlers: usize, runners: usize| runners > 0 && (files == 0 || handlers > 0);
    while !up(
        field.store.handlers().await?.len(),
        field.store.runners().await?.len(),
    ) {
        if started.elapsed() > LIMIT {
            return Err(Problem::failed(
                "the runner did not come up; nothing is reported",
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The first second belongs to the start.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, from) = (process.processor()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(stage.options.seconds.into())).await;
    let used = process.processor()? - before;
    let seen = Seen {
        share: used / from.elapsed().as_secs_f64(),
        resident: process.resident()?,
    };
    process.stop().await?;
    field.close().await?;
    Ok(seen)
}

/// A runner in a separate process. This program also acts as `pgtq`.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(field: &Field<'_>, plugins: &Path) -> Result<Self, Problem> {
        let stage = field.stage;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["run", "--quiet", "--quiet", "--name", "bench", "--plugins"])
            .arg(plugins)
            .args(["--schema", field.store.config().schema.as_str()])
            // In the environment, because arguments are public.
            .env("PGTQ_DATABASE_URL", stage.url()?)
            .env_remove("PGTQ_SCHEMA")
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        if let Some(cache) = &stage.config.run.cache {
            command.env("PGTQ_CACHE", cache);
        }
        Ok(Process(command.spawn()?))
    }

    fn proc(&self, file: &str) -> Result<String, Problem> {
        let gone = || Problem::failed("the runner's process has ended; its output is above");
        let pid = self.0.id().ok_or_else(gone)?;
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|_| gone())
    }

    /// The resident memory, in MiB.
    fn resident(&self) -> Result<f64, Problem> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0)
            .ok_or_else(|| Problem::failed("/proc does not say how much memory a process has"))
    }

    /// The processor time of all threads, in seconds.
    fn processor(&self) -> Result<f64, Problem> {
        let stat = self.proc("stat")?;
        // The 12th and 13th number after the name, which may contain any characters.
        let numbers = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 = numbers
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|text| text.parse::<f64>().ok())
            .sum();
        // SAFETY: sysconf returns a constant.
        let each_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Ok(ticks / each_second as f64)
    }

    /// Stops the process and waits for its exit.
    pub(crate) async fn stop(mut self) -> Result<(), Problem> {
        if let Some(pid) = self.0.id().and_then(|pid| libc::pid_t::try_from(pid).ok()) {
            // SAFETY: kill takes two integers, and the child is not reaped yet.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        self.0.wait().await?;
        Ok(())
    }
}
