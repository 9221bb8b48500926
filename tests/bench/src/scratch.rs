//! Files of workloads: plugins and directories.

use std::path::PathBuf;

use pgtq::bench::{BenchEnvironment, Problem};

/// The file of a plugin.
pub(crate) fn plugin(stage: &BenchEnvironment<'_>, name: &str) -> Result<PathBuf, Problem> {
    let file = stage.config.run.plugins.join(format!("{name}.wasm"));
    match file.is_file() {
        true => Ok(file),
        false => Err(
            Problem::not_found(format!("there is no {}", file.display()))
                .help("leave --plugins out: then the examples are built"),
        ),
    }
}

/// An empty directory for files of a workload.
pub(crate) fn directory(stage: &BenchEnvironment<'_>, name: &str) -> Result<PathBuf, Problem> {
    let dir = stage.scratch.path().join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}
