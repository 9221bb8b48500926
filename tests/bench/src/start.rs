//! `start`: the time from the start of a runner process to its first claim, with `--files`
//! plugin files whose code is in the cache. The plugins are copies of one file with renamed
//! handlers, so that each is compiled and loaded separately.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgtq::bench::{BenchEnvironment, Figure, Problem, file_of, load, new_sandbox, work};

use crate::args::LabArgs;
use crate::idle::Process;
use crate::scratch;
use crate::sql::Client;

/// The timeout for the first claim of a runner.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    let dir = plugins(stage, args.files).await?;
    let field = stage.field().await?;
    work::push(&field, 1, |_| stage.task.clone()).await?;
    let started = Instant::now();
    let process = Process::start(&field, &dir)?;
    let client = Client::connect(&field).await?;
    while !client.touched().await? {
        if started.elapsed() > LIMIT {
            return Err(Problem::failed(
                "the runner claimed nothing; nothing is reported",
            ));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = started.elapsed().as_secs_f64() * 1e3;
    while field.store.bench_counts().await?.left > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process.stop().await?;
    work::verify(&field.store, 1, 0).await?;
    field.close().await?;
    let what = format!("start to first claim, {} files", args.files);
    Ok(vec![Figure::new(what, took, "ms").target("≤ 300")])
}

/// A directory with `n` compiled plugin files, the original first.
pub(crate) async fn plugins(stage: &BenchEnvironment<'_>, n: u32) -> Result<PathBuf, Problem> {
    let dir = scratch::directory(stage, "crowd")?;
    if n == 0 {
        return Ok(dir);
    }
    let file = file_of(&stage.config, stage.task.handler.as_str()).await?;
    let sandbox = new_sandbox(&stage.config, 1)?;
    let first = load(&sandbox, &file).await?;
    let names: Vec<&str> = first
        .manifest
        .handlers
        .iter()
        .map(|info| info.name.as_str())
        .collect();
    let bytes = std::fs::read(&file)?;
    for number in 0..n {
        let copy = match number {
            0 => bytes.clone(),
            _ => renamed(&bytes, &names, number)?,
        };
        let place = dir.join(format!("plugin{number:04}.wasm"));
        std::fs::write(&place, copy)?;
        load(&sandbox, &place).await?;
    }
    Ok(dir)
}

/// Replaces the end of each handler's name by a number, in all places. Names are plain bytes
/// in the file.
fn renamed(bytes: &[u8], names: &[&str], number: u32) -> Result<Vec<u8>, Problem> {
    let mut bytes = bytes.to_vec();
    for name in names {
        let Some(kept) = name.len().checked_sub(4).filter(|&kept| kept > 0) else {
            return Err(Problem::usage(format!(
                "the handler's name `{name}` is too short to be copied"
            ))
            .help("leave out --plugins and --handler: the example's names will do"));
        };
        let new = format!("{}{number:04}", &name[..kept]);
        let places: Vec<usize> = (0..bytes.len().saturating_sub(name.len()))
            .filter(|&at| bytes[at..].starts_with(name.as_bytes()))
            .collect();
        for at in places {
            bytes[at..at + name.len()].copy_from_slice(new.as_bytes());
        }
    }
    Ok(bytes)
}

/// `n` versions of a plugin file: the same code with different custom sections.
pub(crate) fn versions(file: &Path, dir: &Path, n: u32) -> Result<Vec<PathBuf>, Problem> {
    let bytes = std::fs::read(file)?;
    let mut files = Vec::new();
    for number in 0..n {
        let name = b"version";
        let mut section = vec![u8::try_from(name.len()).unwrap_or(0)];
        section.extend_from_slice(name);
        section.extend_from_slice(format!("{number:08}").as_bytes());
        let mut version = bytes.clone();
        // Id 0, and a length of one byte, because the section is shorter than 128 bytes.
        version.extend([0, u8::try_from(section.len()).unwrap_or(0)]);
        version.extend(section);
        let place = dir.join(format!("version{number:04}.wasm"));
        std::fs::write(&place, version)?;
        files.push(place);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_of_a_name_is_replaced_with_the_same_length() {
        let bytes = renamed(b"..greet..add_numbers.greet.", &["greet", "add_numbers"], 7).unwrap();
        assert_eq!(bytes, b"..g0007..add_num0007.g0007.");
        let refused = renamed(b"", &["tiny"], 1).unwrap_err();
        assert!(
            refused.to_string().contains("`tiny` is too short"),
            "{refused}"
        );
    }
}
