//! The files of one attempt: what it may still write, and what it has open.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use wasmtime_wasi::filesystem::Dir;

use crate::attempt::state::{CapabilityContext, StoreData};
use crate::fair::FairSemaphore;
use crate::wasi::handles::{HandlePermit, Handles, Process};
use crate::wasi::meter::Meter;

/// Files that one attempt may have open at a time.
pub(super) const OPEN_FILES: usize = 100;
/// Directory listings likewise: each holds a file and a part of its directory.
pub(super) const OPEN_LISTINGS: usize = 8;
/// Files that all attempts of this process may have open, besides the process's other
/// files; many systems allow a process 1,024. Plugins share them.
static PROCESS_FILES: Process = LazyLock::new(|| FairSemaphore::new(256));
static PROCESS_LISTINGS: Process = LazyLock::new(|| FairSemaphore::new(64));
/// The cost of a new name against the budget: a block of most file systems.
pub(crate) const ENTRY_BYTES: u64 = 4_096;

/// The file state of one attempt.
pub(crate) struct AttemptFiles {
    /// Opened when the guest first asks for them.
    pub(crate) directories: Option<Vec<(Dir, String)>>,
    pub(super) written: Arc<Meter>,
    pub(super) files: Handles,
    pub(super) listings: Handles,
    /// By the handle's number. Handles without an entry are granted directories.
    pub(super) tickets: HashMap<u32, Arc<HandlePermit>>,
    /// The guest's name of the granted directory of a handle, by the handle's number.
    pub(crate) roots: HashMap<u32, Arc<str>>,
    /// Whether the log already says that too many are open.
    pub(super) logged: bool,
}

impl CapabilityContext for AttemptFiles {
    fn new(state: &StoreData) -> Self {
        AttemptFiles {
            directories: None,
            written: Meter::new(
                state.limits.file_bytes,
                over_budget,
                libc::ENOSPC,
                &state.logs,
            ),
            files: Handles::new(OPEN_FILES, &PROCESS_FILES),
            listings: Handles::new(OPEN_LISTINGS, &PROCESS_LISTINGS),
            tickets: HashMap::new(),
            roots: HashMap::new(),
            logged: false,
        }
    }
}

fn over_budget(limit: u64) -> String {
    format!(
        "this attempt may write at most {limit} bytes to files (a new file counts {ENTRY_BYTES}); raise `limits.file_bytes`"
    )
}
