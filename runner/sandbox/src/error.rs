//! Why the sandbox does not start, and why a file is rejected.

/// The sandbox cannot be set up on this machine or with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine rejected its configuration, or its memory could not be reserved.
    #[error(
        "set up the sandbox: {reason}; fewer slots, a lower memory cap or `allocator = \"on-demand\"` need less address space"
    )]
    Engine {
        /// The error of wasmtime.
        reason: String,
    },
    /// A setting is invalid.
    #[error("set up the sandbox: {0}")]
    Config(String),
}

/// Why a plugin file is rejected. The text is for the user who put the file there; no
/// part of a rejected file is in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Zero bytes.
    #[error("the file is empty; it may still be being copied")]
    Empty,
    /// Over the size limit.
    #[error(
        "the file has {bytes} bytes, the limit is {limit}; build with `--release` and strip it, or raise `plugins.max_file`"
    )]
    TooLarge {
        /// Size of the file.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not WebAssembly at all.
    #[error("not a WebAssembly file: it does not begin with `\\0asm`; build it with `pgtq build`")]
    NotWasm,
    /// WebAssembly in its text format.
    #[error("WebAssembly text; plugins are binary .wasm files")]
    Text,
    /// WebAssembly that ends too early.
    #[error("the file is cut off at byte {at}; it may still be being copied")]
    Truncated {
        /// Where it ends.
        at: u64,
    },
    /// WebAssembly that is not valid.
    #[error("not valid WebAssembly at byte {at}: {reason}")]
    Invalid {
        /// The offset.
        at: u64,
        /// The error of the validator.
        reason: String,
    },
    /// More entries of a kind than any plugin needs: the kind, and the limit.
    #[error(
        "the file has more than {1} {0}; plugins have far fewer, so it is damaged or not a plugin"
    )]
    TooMany(&'static str, usize),
    /// A core module without the SDK's metadata.
    #[error(
        "a WebAssembly core module, but not one that was built with pgtq-sdk; build it with `pgtq build`"
    )]
    CoreModule,
    /// A core module with the SDK's metadata that cannot be wrapped as a component.
    #[error("cannot make a component from this core module: {0}")]
    Componentize(String),
    /// Built against another contract.
    #[error(
        "built against contract pgtq:plugin@{found}, this pgtq requires pgtq:plugin@{wanted}; rebuild the plugin with a matching pgtq-sdk"
    )]
    WrongContract {
        /// The version in the file.
        found: String,
        /// Our version.
        wanted: String,
    },
    /// Imports that no runner provides.
    #[error("imports interfaces that plugins do not have: {}; available are pgtq:plugin and, of WASI 0.2, cli, clocks, filesystem, http (outgoing), io, random and sockets", listed(.0))]
    UnknownImports(Vec<String>),
    /// Not a pgtq plugin.
    #[error("a WebAssembly component, but not a pgtq plugin: it does not export `{0}`")]
    MissingExport(String),
    /// An export with the right name and the wrong type.
    #[error("exports or imports do not match the contract: {0}")]
    WrongType(String),
    /// A plugin without handlers.
    #[error("the plugin has no handlers; mark a function with #[handler]")]
    NoHandlers,
    /// More handlers than a plugin may have.
    #[error("the plugin has {0} handlers, at most 1000 are allowed")]
    TooManyHandlers(usize),
    /// Two handlers with the same name in one file.
    #[error("the plugin has two handlers named `{0}`; rename one with #[handler(name = \"...\")]")]
    DuplicateHandler(String),
    /// An invalid handler name.
    #[error("handler name {0}")]
    BadName(String),
    /// The manifest does not follow the contract.
    #[error("the plugin's manifest cannot be read: {0}")]
    BadManifest(String),
    /// `describe` and the handler section disagree.
    #[error("the plugin describes other handlers than its file lists: {0}")]
    Mismatch(String),
    /// Components inside components.
    #[error("the component contains {0}; composed components are not accepted")]
    Composed(String),
    /// Compiling failed.
    #[error("cannot be compiled: {0}")]
    Compile(String),
    /// Compiling took too long.
    #[error(
        "compiling took more than {seconds} s of processor time and was stopped; make the plugin smaller or raise `plugins.compile_timeout`"
    )]
    CompileTimeout {
        /// The limit.
        seconds: u64,
    },
    /// Compiling did not finish, although it used little processor time.
    #[error(
        "the compiler was stopped after {seconds} s without a result; this machine may be too busy, or raise `plugins.compile_timeout`"
    )]
    CompileStalled {
        /// The limit.
        seconds: u64,
    },
    /// Compiling took too much memory.
    #[error(
        "compiling took more than {mib} MiB of memory and was stopped; make the plugin smaller or raise `plugins.compile_memory`"
    )]
    CompileMemory {
        /// The limit.
        mib: u64,
    },
    /// The compiler was stopped from outside.
    #[error(
        "the compiler was stopped from outside: {reason}; this machine may have run out of memory or processes"
    )]
    CompileKilled {
        /// The child's exit status.
        reason: String,
    },
    /// The compiler ended without an answer about the file.
    #[error("the compiler gave no answer: {reason}; report the file if this happens again")]
    CompilerFailed {
        /// The child's exit status.
        reason: String,
    },
    /// The compiler could not be run.
    #[error("cannot run the compiler {program}: {reason}")]
    Compiler {
        /// The program.
        program: String,
        /// The error of the operating system.
        reason: String,
    },
    /// `describe` failed.
    #[error("asking the plugin for its handlers failed: {0}")]
    Probe(String),
    /// A fault of the runner itself.
    #[error("internal error while loading: {0}")]
    Internal(String),
}

impl LoadError {
    /// Whether the same bytes may be accepted later: the cause may be this machine, not
    /// the file.
    pub fn may_pass_later(&self) -> bool {
        matches!(
            self,
            LoadError::CompileTimeout { .. }
                | LoadError::CompileStalled { .. }
                | LoadError::CompileMemory { .. }
                | LoadError::CompileKilled { .. }
                | LoadError::CompilerFailed { .. }
                | LoadError::Compiler { .. }
                | LoadError::Probe(_)
                | LoadError::Internal(_)
        )
    }
}

/// Names of a list that are shown.
const MAX_SHOWN: usize = 8;

/// A list as it is shown: a file may import a thousand names.
fn listed(names: &[String]) -> String {
    match names.get(..MAX_SHOWN) {
        Some(first) if names.len() > MAX_SHOWN => {
            format!("{} and {} more", first.join(", "), names.len() - MAX_SHOWN)
        }
        _ => names.join(", "),
    }
}
