//! Builds plugin crates.

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

use super::environment;
use super::find::Toolchain;
use super::reproducible::{self, Wrapper};
use super::target::TARGET;
use crate::places;

/// How to build plugin crates. The default is a release build of all plugins of the
/// workspace, with the compiler's output on standard error.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Build with debug assertions and without optimizations.
    pub debug: bool,
    /// Build only this package of the workspace.
    pub package: Option<String>,
    /// Features to enable.
    pub features: Vec<String>,
    /// Additional environment variables for cargo and the crates.
    pub env: Vec<(String, String)>,
    /// The target directory. The default is `CARGO_TARGET_DIR`, or cargo's default for
    /// the crate.
    pub target_dir: Option<PathBuf>,
    /// A directory to copy the plugin files to.
    pub out_dir: Option<PathBuf>,
    /// Where the compiler's output goes.
    pub output: CompilerOutput,
}

/// Where the compiler's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompilerOutput {
    /// To standard error.
    #[default]
    Show,
    /// Into [`BuildError::Compile`], if the build fails.
    Keep,
}

/// A finished build.
#[derive(Debug, Clone)]
pub struct Built {
    /// One per plugin, sorted by package name.
    pub artifacts: Vec<Artifact>,
    /// The duration of the build.
    pub took: Duration,
}

/// A plugin file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The name of the package.
    pub package: String,
    /// The directory of the package.
    pub dir: PathBuf,
    /// The component: in `out_dir` if given, otherwise in the target directory.
    pub wasm: PathBuf,
    /// Local paths contained in the file, at most five. With such a path, a build in
    /// another directory has another digest.
    pub paths: Vec<String>,
}

/// A plugin that could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The directory has no crate.
    #[error("no Cargo.toml in {}", .0.display())]
    NoCrate(PathBuf),
    /// Compilation failed.
    #[error("the plugin in {} did not compile", dir.display())]
    Compile {
        /// The directory of the crate.
        dir: PathBuf,
        /// The compiler's output; empty with [`CompilerOutput::Show`].
        text: String,
    },
    /// The build has no component, because the crate type is not `cdylib`.
    #[error(
        "no plugin in {}: no package has `crate-type = [\"cdylib\"]` under [lib] in its Cargo.toml",
        .0.display()
    )]
    NoPlugin(PathBuf),
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// The step that failed.
        what: String,
        /// The error of the operating system.
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
    /// The plugin file of `package`.
    pub fn wasm_of(&self, package: &str) -> Option<&Path> {
        let found = self.artifacts.iter().find(|a| a.package == package)?;
        Some(&found.wasm)
    }
}

/// Builds the plugins of the crate or workspace in `dir`.
///
/// Builds with the same target directory run one after the other, so that `out_dir`
/// gets the files of this build.
pub fn build_plugin(
    toolchain: &Toolchain,
    dir: &Path,
    options: &BuildOptions,
) -> Result<Built, BuildError> {
    if !dir.join("Cargo.toml").is_file() {
        return Err(BuildError::NoCrate(dir.to_owned()));
    }
    let started = Instant::now();
    // Cargo releases its own lock before the files are copied.
    let _building = options.out_dir.is_some().then(lock);
    let wrapper = Wrapper::write().map_err(system("write the script that calls rustc"))?;
    let home = reproducible::cargo_home(dir, options.variable("CARGO_HOME"));
    let mut cargo = command(dir, options);
    wrapper.attach(&mut cargo, &home, &toolchain.std);
    let (messages, diagnostics, success) = run(cargo, options.output)?;
    if !success {
        return Err(BuildError::Compile {
            dir: dir.to_owned(),
            text: diagnostics.trim_end().to_owned(),
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

/// The requested target directory. A relative path is relative to the working directory
/// of this process, not to the crate.
fn target_dir(
    options: &BuildOptions,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    let named = || {
        let mut names = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].into_iter();
        names.find_map(|name| variable(name).filter(|value| !value.is_empty()))
    };
    let requested = options
        .target_dir
        .clone()
        .or_else(|| named().map(PathBuf::from))?;
    path::absolute(requested).ok()
}

/// Runs cargo. Returns its messages, its diagnostics (with [`CompilerOutput::Keep`]), and
/// whether it succeeded.
fn run(mut command: Command, output: CompilerOutput) -> Result<(String, String, bool), BuildError> {
    let stderr = match output {
        CompilerOutput::Show => Stdio::inherit(),
        CompilerOutput::Keep => Stdio::piped(),
    };
    let mut cargo = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(system("run cargo"))?;
    // Both pipes are read concurrently: a full pipe blocks cargo.
    let diagnostics = cargo.stderr.take().map(|mut stderr| {
        thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        })
    });
    let mut messages = String::new();
    if let Some(mut stdout) = cargo.stdout.take() {
        stdout
            .read_to_string(&mut messages)
            .map_err(system("read the output of cargo"))?;
    }
    let status = cargo.wait().map_err(system("wait for cargo"))?;
    let diagnostics = diagnostics
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default();
    Ok((messages, diagnostics, status.success()))
}

/// A message of cargo about a finished target.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    target: Option<MessageTarget>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    /// For a build script.
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

/// The directories that the build used.
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

/// The name of the package. In the name of the target, `-` is replaced by `_`.
fn package_name(manifest: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct CargoManifest {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let text = fs::read_to_string(manifest).ok()?;
    let manifest: CargoManifest = toml::from_str(&text).ok()?;
    Some(manifest.package.name)
}

/// Locks builds that copy their files. Without a cache directory there is no lock, and
/// concurrent builds of one crate could copy each other's files.
fn lock() -> Option<File> {
    let cache = places::cache_dir()?;
    fs::create_dir_all(&cache).ok()?;
    let file = File::create(cache.join("build.lock")).ok()?;
    file.lock().ok()?;
    Some(file)
}

/// Copies a file atomically, for a process that watches `out_dir`.
fn copy_into(out_dir: &Path, file: &Path) -> Result<PathBuf, BuildError> {
    let name = file
        .file_name()
        .expect("the path of an artifact has a file name");
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
    fn the_target_directory_is_read_from_the_environment() {
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
        let requested = BuildOptions {
            target_dir: Some("/requested".into()),
            ..BuildOptions::default()
        };
        assert_eq!(
            target_dir(&requested, named("CARGO_TARGET_DIR")),
            Some("/requested".into())
        );
    }
}
