//! Building plugin crates.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{self, Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::reproducible::{self, Wrapper};
use super::{TARGET, Toolchain, environment};
use crate::places;

/// How a plugin crate is built. `BuildOptions::default()` is a release build of
/// every plugin of the workspace, shown as it goes.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Build with debug assertions and without optimisation.
    pub debug: bool,
    /// Only this package of the workspace.
    pub package: Option<String>,
    /// Features to switch on.
    pub features: Vec<String>,
    /// More environment for cargo, for crates that read some at build time.
    pub env: Vec<(String, String)>,
    /// Where cargo works; by default `CARGO_TARGET_DIR`, else what cargo would
    /// use for this crate.
    pub target_dir: Option<PathBuf>,
    /// Copy the finished files here as well.
    pub out_dir: Option<PathBuf>,
    /// Where the compiler's words go.
    pub output: Output,
}

/// Where the compiler's words go while a plugin is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// To our standard error, as they come.
    #[default]
    Show,
    /// Into [`BuildError::Compile`] if the build fails.
    Keep,
}

/// A finished build.
#[derive(Debug, Clone)]
pub struct Built {
    /// One per plugin, by package name.
    pub artifacts: Vec<Artifact>,
    /// How long cargo took.
    pub took: Duration,
}

/// One finished plugin file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The package it comes from.
    pub package: String,
    /// The directory of the package.
    pub dir: PathBuf,
    /// The component: in `out_dir` if one was given, else in the target directory.
    pub wasm: PathBuf,
    /// Paths of this machine that the crate put into the file, at most five: a
    /// build elsewhere has another digest.
    pub paths: Vec<String>,
}

/// A plugin that could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The directory contains no crate.
    #[error("no Cargo.toml in {}", .0.display())]
    NoCrate(PathBuf),
    /// The crate does not compile.
    #[error("the plugin in {} did not compile", dir.display())]
    Compile {
        /// The crate.
        dir: PathBuf,
        /// The messages of the compiler; empty if they were already printed.
        text: String,
    },
    /// The crate compiles, but its crate type is not `cdylib`.
    #[error(
        "no plugin found in {}: no package there has `crate-type = [\"cdylib\"]` under [lib] \
         in its Cargo.toml", .0.display()
    )]
    NoPlugin(PathBuf),
    /// An error of the operating system.
    #[error("cannot {what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// Its error.
        source: io::Error,
    },
}

impl BuildOptions {
    fn variable(&self, name: &str) -> Option<&str> {
        let mut env = self.env.iter().rev();
        env.find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Built {
    /// The file of `package`.
    pub fn wasm_of(&self, package: &str) -> Option<&Path> {
        let found = self.artifacts.iter().find(|a| a.package == package)?;
        Some(&found.wasm)
    }
}

/// Builds the crate or workspace in `dir` into components.
///
/// Cargo decides what is still fresh. Two builds of one target directory wait for
/// each other, and `out_dir` gets the files of this build whatever comes after.
pub fn build_plugin(
    toolchain: &Toolchain,
    dir: &Path,
    options: &BuildOptions,
) -> Result<Built, BuildError> {
    if !dir.join("Cargo.toml").is_file() {
        return Err(BuildError::NoCrate(dir.to_owned()));
    }
    let started = Instant::now();
    // Cargo's own lock ends with cargo, before the files are copied.
    let _building = options.out_dir.is_some().then(lock);
    let wrapper = Wrapper::write().map_err(system("write the script that calls rustc"))?;
    let home = reproducible::cargo_home(dir, options.variable("CARGO_HOME"));
    let mut cargo = command(dir, options);
    wrapper.attach(&mut cargo, &home, &toolchain.std);
    let (messages, words, success) = run(cargo, options.output)?;
    if !success {
        return Err(BuildError::Compile {
            dir: dir.to_owned(),
            text: words.trim_end().to_owned(),
        });
    }
    let messages = parse(&messages);
    let mut artifacts = artifacts_in(&messages);
    if artifacts.is_empty() {
        return Err(BuildError::NoPlugin(dir.to_owned()));
    }
    let own_paths = paths_of(&messages, home);
    for artifact in &mut artifacts {
        if let Some(out_dir) = &options.out_dir {
            artifact.wasm = copy_into(out_dir, &artifact.wasm)?;
        }
        let file = fs::read(&artifact.wasm)
            .map_err(system(&format!("read {}", artifact.wasm.display())))?;
        artifact.paths = reproducible::paths_in(&file, &own_paths);
    }
    Ok(Built {
        artifacts,
        took: started.elapsed(),
    })
}

fn command(dir: &Path, options: &BuildOptions) -> Command {
    let mut command = environment::command("cargo", dir);
    command.args(["build", "--target", TARGET]);
    command.arg("--message-format=json-render-diagnostics");
    if !options.debug {
        command.arg("--release");
    }
    if let Some(package) = &options.package {
        command.args(["--package", package]);
    }
    if !options.features.is_empty() {
        command.args(["--features", &options.features.join(",")]);
    }
    if let Some(target_dir) = target_dir(options, |name| env::var_os(name)) {
        command.arg("--target-dir").arg(target_dir);
    }
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    command
}

/// The target directory that was asked for. A relative one is relative to our own
/// working directory, not to the crate's.
fn target_dir(
    options: &BuildOptions,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    let named = || {
        let mut names = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].into_iter();
        names.find_map(|name| variable(name).filter(|value| !value.is_empty()))
    };
    let asked = options
        .target_dir
        .clone()
        .or_else(|| named().map(PathBuf::from))?;
    path::absolute(asked).ok()
}

/// Runs cargo. Returns its messages, its words if they were to be kept, and
/// whether it succeeded.
fn run(mut command: Command, output: Output) -> Result<(String, String, bool), BuildError> {
    let stderr = match output {
        Output::Show => Stdio::inherit(),
        Output::Keep => Stdio::piped(),
    };
    let mut cargo = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(system("run cargo"))?;
    // Both pipes are read at once: a full one stops cargo.
    let words = cargo.stderr.take().map(|mut stderr| {
        thread::spawn(move || {
            let mut words = String::new();
            let _ = stderr.read_to_string(&mut words);
            words
        })
    });
    let mut messages = String::new();
    if let Some(mut stdout) = cargo.stdout.take() {
        stdout
            .read_to_string(&mut messages)
            .map_err(system("read the output of cargo"))?;
    }
    let status = cargo.wait().map_err(system("wait for cargo"))?;
    let words = words
        .and_then(|words| words.join().ok())
        .unwrap_or_default();
    Ok((messages, words, status.success()))
}

/// The line of cargo's output about one finished target.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    target: Option<MessageTarget>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    /// Of a build script that ran.
    out_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
struct MessageTarget {
    name: String,
    crate_types: Vec<String>,
}

fn parse(messages: &str) -> Vec<Message> {
    let lines = messages.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The directories that a build read from and wrote to.
fn paths_of(messages: &[Message], cargo_home: PathBuf) -> BTreeSet<PathBuf> {
    let manifests = messages.iter().filter_map(|m| m.manifest_path.parent());
    let scripts = messages.iter().filter_map(|m| m.out_dir.as_deref());
    let mut paths: BTreeSet<PathBuf> = manifests.chain(scripts).map(Path::to_owned).collect();
    paths.insert(cargo_home);
    paths
}

fn artifacts_in(messages: &[Message]) -> Vec<Artifact> {
    let mut artifacts: Vec<Artifact> = messages
        .iter()
        .filter(|message| message.reason == "compiler-artifact")
        .filter_map(|message| {
            let target = message.target.as_ref()?;
            target.crate_types.iter().find(|kind| *kind == "cdylib")?;
            let is_wasm = |file: &&PathBuf| file.extension().is_some_and(|e| e == "wasm");
            let wasm = message.filenames.iter().find(is_wasm)?;
            let package = package_name(&message.manifest_path);
            let dir = message.manifest_path.parent().unwrap_or(Path::new("."));
            Some(Artifact {
                package: package.unwrap_or_else(|| target.name.clone()),
                dir: dir.to_owned(),
                wasm: wasm.clone(),
                paths: Vec::new(),
            })
        })
        .collect();
    artifacts.sort_by(|a, b| a.package.cmp(&b.package));
    artifacts
}

/// The package's name: the target's own has `_` where the package has `-`.
fn package_name(manifest: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let text = fs::read_to_string(manifest).ok()?;
    let manifest: Manifest = toml::from_str(&text).ok()?;
    Some(manifest.package.name)
}

/// One copying build at a time. Without a cache directory there is no lock: then
/// two builds of one crate could mix up their files, which is better than none.
fn lock() -> Option<File> {
    let cache = places::cache_dir()?;
    fs::create_dir_all(&cache).ok()?;
    let file = File::create(cache.join("build.lock")).ok()?;
    file.lock().ok()?;
    Some(file)
}

/// Copies a finished file so that a watcher of `out_dir` sees it whole.
fn copy_into(out_dir: &Path, file: &Path) -> Result<PathBuf, BuildError> {
    let name = file.file_name().expect("cargo names a file");
    let copied = out_dir.join(name);
    let unfinished = out_dir.join(format!(".{}.tmp", name.to_string_lossy()));
    fs::create_dir_all(out_dir)
        .and_then(|()| fs::copy(file, &unfinished))
        .and_then(|_| fs::rename(&unfinished, &copied))
        .map_err(system(&format!("write {}", copied.display())))?;
    Ok(copied)
}

fn system(what: &str) -> impl FnOnce(io::Error) -> BuildError + '_ {
    move |source| BuildError::System {
        what: what.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_directory_named_by_the_environment_is_used() {
        let named =
            |wanted: &'static str| move |name: &str| (name == wanted).then(|| "built".into());
        let here = env::current_dir().unwrap();
        let default = BuildOptions::default();
        for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"] {
            assert_eq!(
                target_dir(&default, named(name)),
                Some(here.join("built")),
                "{name}"
            );
        }
        assert_eq!(target_dir(&default, |_| Some(OsString::new())), None);
        let asked = BuildOptions {
            target_dir: Some("/asked".into()),
            ..BuildOptions::default()
        };
        assert_eq!(
            target_dir(&asked, named("CARGO_TARGET_DIR")),
            Some("/asked".into())
        );
    }
}
