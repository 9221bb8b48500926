//! `wasi:filesystem`, with the calls that write, open and list replaced.
//!
//! wasmtime handles paths: it resolves every one beneath its directory (`openat2` with
//! `RESOLVE_BENEATH`), so `..` and links lead nowhere else, and it runs every call on
//! threads that may block. This module counts what wasmtime does not: bytes written,
//! files created, and handles open.

mod directories;
mod links;
mod listing;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use crate::attempt::access::Denied;
use crate::attempt::state::{SharedLogs, State};
use crate::capability::files::listing::Listing;
use crate::fair::FairSemaphore;
use crate::run::linker::Caller;
use crate::wasi::VERSION;
use crate::wasi::handles::{Handles, Process, Ticket};
use crate::wasi::meter::{Meter, budget_input, budget_output};
use crate::wasi::replace;
use pgtq_task::{Limits, LogLevel, toml_key};

/// Files that one attempt may have open at a time.
const OPEN_FILES: usize = 100;
/// Directory listings likewise: each holds a file and a part of its directory.
const OPEN_LISTINGS: usize = 8;
/// Files that all attempts of this process may have open, besides the process's other
/// files; many systems allow a process 1,024. Plugins share them.
static PROCESS_FILES: Process = LazyLock::new(|| FairSemaphore::new(256));
static PROCESS_LISTINGS: Process = LazyLock::new(|| FairSemaphore::new(64));
/// The cost of a new name against the budget: a block of most file systems.
pub(crate) const ENTRY_BYTES: u64 = 4_096;

/// The file state of one attempt.
pub(crate) struct Files {
    /// Opened when the guest first asks for them.
    pub(crate) directories: Option<Vec<(Dir, String)>>,
    written: Arc<Meter>,
    files: Handles,
    listings: Handles,
    /// By the handle's number. Handles without an entry are granted directories.
    tickets: HashMap<u32, Arc<Ticket>>,
    /// The guest's name of the granted directory of a handle, by the handle's number.
    pub(crate) roots: HashMap<u32, Arc<str>>,
    /// Whether the log already says that too many are open.
    logged: bool,
}

impl Files {
    pub(crate) fn new(limits: &Limits, logs: &SharedLogs) -> Self {
        Files {
            directories: None,
            written: Meter::new(limits.file_bytes, over_budget, libc::ENOSPC, logs),
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
        "this attempt may write at most {limit} bytes to files (a new file counts {ENTRY_BYTES}); raise `file_bytes`"
    )
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, WasiFilesystem>(linker, State::filesystem)?;
    preopens::add_to_linker::<_, WasiFilesystem>(linker, State::filesystem)?;
    let mut preopens = linker.instance(&format!("wasi:filesystem/preopens@{VERSION}"))?;
    preopens.func_wrap_async("get-directories", |mut store: Caller<'_>, (): ()| {
        Box::new(async move { Ok((directories::directories(store.data_mut()).await?,)) })
    })?;
    let mut types = linker.instance(&format!("wasi:filesystem/types@{VERSION}"))?;
    link_writing(&mut types)?;
    links::link(&mut types)?;
    link_opening(&mut types)
}

type Fd = Resource<Descriptor>;

fn link_writing(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    replace!(types, "[method]descriptor.write", |state, (fd: Fd, bytes: Vec<u8>, offset: u64)| async {
        fill_hole(state, &fd, offset).await?;
        take(state, bytes.len() as u64)?;
        state.filesystem().write(fd, bytes, offset).await
    });
    replace!(types, "[method]descriptor.write-via-stream", |state, (fd: Fd, offset: u64)| async {
        fill_hole(state, &fd, offset).await?;
        let number = fd.rep();
        let stream = state.filesystem().write_via_stream(fd, offset)?;
        count_output(state, number, stream)
    });
    replace!(types, "[method]descriptor.append-via-stream", |state, (fd: Fd)| async {
        let number = fd.rep();
        let stream = state.filesystem().append_via_stream(fd)?;
        count_output(state, number, stream)
    });
    replace!(types, "[method]descriptor.set-size", |state, (fd: Fd, size: u64)| async {
        fill_hole(state, &fd, size).await?;
        state.filesystem().set_size(fd, size).await
    });
    replace!(types, "[method]descriptor.create-directory-at", |state, (fd: Fd, path: String)| async {
        take(state, ENTRY_BYTES)?;
        state.filesystem().create_directory_at(fd, path).await
    });
    Ok(())
}

fn link_opening(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    replace!(
        types,
        "[method]descriptor.open-at",
        |state, (fd: Fd, follow: PathFlags, path: String, open: OpenFlags, flags: DescriptorFlags)|
            open_at(state, fd, follow, path, open, flags)
    );
    replace!(types, "[method]descriptor.read-via-stream", |state, (fd: Fd, offset: u64)| async {
        let number = fd.rep();
        let stream = state.filesystem().read_via_stream(fd, offset)?;
        keep_input(state, number, stream)
    });
    replace!(types, "[method]descriptor.read-directory", |state, (fd: Fd)| read_directory(state, fd));
    types.resource(
        "descriptor",
        ResourceType::host::<Descriptor>(),
        |mut store, number| {
            let state = store.data_mut();
            HostDescriptor::drop(&mut state.filesystem(), Resource::new_own(number))?;
            let files = state.wasi_parts().0.files();
            files.tickets.remove(&number);
            files.roots.remove(&number);
            Ok(())
        },
    )?;
    replace!(
        types,
        "[method]directory-entry-stream.read-directory-entry",
        |state, (listing: Resource<Listing>)| async {
            state.wasi_parts().1.get_mut(&listing)?.next().await
        }
    );
    let listing = ResourceType::host::<Listing>();
    types.resource("directory-entry-stream", listing, |mut store, number| {
        let (wasi, table) = store.data_mut().wasi_parts();
        table.delete(Resource::<Listing>::new_own(number))?;
        wasi.files().tickets.remove(&number);
        Ok(())
    })
}

/// Takes bytes from the budget.
pub(crate) fn take(state: &mut State, bytes: u64) -> FsResult<()> {
    Ok(state.wasi_parts().0.files().written.take(bytes)?)
}

/// A gap that a write leaves beyond a file's end counts like written bytes: it exists
/// afterwards.
async fn fill_hole(state: &mut State, fd: &Fd, end: u64) -> FsResult<()> {
    if end == 0 {
        return Ok(());
    }
    let stat = state
        .filesystem()
        .stat(Resource::new_borrow(fd.rep()))
        .await?;
    take(state, end.saturating_sub(stat.size))
}

async fn open_at(
    state: &mut State,
    fd: Fd,
    follow: PathFlags,
    path: String,
    open: OpenFlags,
    flags: DescriptorFlags,
) -> FsResult<Fd> {
    let dir = Resource::new_borrow(fd.rep());
    match state.filesystem().stat_at(dir, follow, path.clone()).await {
        // Opening a pipe or a device may block its thread without end.
        Ok(stat) if !is_file_or_directory(stat.type_) => return Err(ErrorCode::NotPermitted.into()),
        Err(_) if open.contains(OpenFlags::CREATE) => take(state, ENTRY_BYTES)?,
        // The call itself reports the error again.
        _ => {}
    }
    let root = state.wasi_parts().0.files().roots.get(&fd.rep()).cloned();
    let plugin = plugin(state);
    let Some(ticket) = state.wasi_parts().0.files().files.take(&plugin).await else {
        return Err(too_many(state, "files", OPEN_FILES).into());
    };
    let writes = flags.contains(DescriptorFlags::WRITE)
        || open.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE);
    let opening = state
        .filesystem()
        .open_at(fd, follow, path.clone(), open, flags)
        .await;
    let opened = match opening {
        Ok(opened) => opened,
        Err(error) => {
            if writes && matches!(error.downcast_ref(), Some(ErrorCode::NotPermitted)) {
                tell_read_only(state, root.as_deref(), &path);
            }
            return Err(error);
        }
    };
    let files = state.wasi_parts().0.files();
    files.tickets.insert(opened.rep(), ticket);
    if let Some(root) = root {
        files.roots.insert(opened.rep(), root);
    }
    Ok(opened)
}

/// The plugin's name in grants.
fn plugin(state: &State) -> Arc<str> {
    let access = state.access.as_ref();
    // An attempt without access has no directory, and so no handle to open from.
    access.map_or_else(|| Arc::from(""), |access| Arc::clone(&access.plugin))
}

/// Logs what to grant, if the directory is read-only: for this directory only, whatever
/// others are granted.
fn tell_read_only(state: &mut State, root: Option<&str>, path: &str) {
    let mut files = state.access.iter().flat_map(|access| &access.grant.files);
    let same = |name: &str| root.is_some_and(|root| directories::is_same(name, root));
    let line = files
        .find(|(name, grant)| same(name) && !grant.write)
        .map(|(name, grant)| {
            let dir = serde_json::Value::from(grant.dir.to_string_lossy());
            format!("files.{} = {{ dir = {dir}, write = true }}", toml_key(name))
        });
    if line.is_some() {
        let denied = Denied {
            what: format!("writing {path} in a read-only directory"),
            need: None,
            grant: line,
        };
        denied.report(state);
    }
}

fn is_file_or_directory(kind: DescriptorType) -> bool {
    // A link that must not be followed: opening it is an error.
    matches!(
        kind,
        DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink
    )
}

async fn read_directory(state: &mut State, fd: Fd) -> FsResult<Resource<Listing>> {
    let plugin = plugin(state);
    let Some(ticket) = state.wasi_parts().0.files().listings.take(&plugin).await else {
        return Err(too_many(state, "directory listings", OPEN_LISTINGS).into());
    };
    let (wasi, table) = state.wasi_parts();
    let Descriptor::Dir(directory) = table.get(&fd)? else {
        return Err(ErrorCode::NotDirectory.into());
    };
    let listing = Listing::open(Arc::clone(&directory.dir)).await?;
    let listing = table.push(listing)?;
    wasi.files().tickets.insert(listing.rep(), ticket);
    Ok(listing)
}

/// WASI has no matching error; this one says to try again later.
fn too_many(state: &mut State, what: &str, limit: usize) -> ErrorCode {
    let logged = std::mem::replace(&mut state.wasi_parts().0.files().logged, true);
    if !logged {
        let message = format!(
            "an attempt may have {limit} {what} open at a time, and all attempts of a plugin together not many more; close some before opening others"
        );
        let _ = state.logs.lock().write(LogLevel::Warn, &message, "");
    }
    ErrorCode::Busy
}

/// Counts the bytes written to a stream, which keeps its file open.
fn count_output(
    state: &mut State,
    number: u32,
    stream: Resource<DynOutputStream>,
) -> FsResult<Resource<DynOutputStream>> {
    let account = Arc::clone(&state.account);
    let (wasi, table) = state.wasi_parts();
    let meter = Arc::clone(&wasi.files().written);
    let ticket = wasi.files().tickets.get(&number).cloned();
    budget_output(table, &stream, Some(meter), ticket, &account).map_err(FsError::trap)?;
    Ok(stream)
}

/// Reading costs nothing, but a stream keeps its file open.
fn keep_input(
    state: &mut State,
    number: u32,
    stream: Resource<DynInputStream>,
) -> FsResult<Resource<DynInputStream>> {
    let account = Arc::clone(&state.account);
    let (wasi, table) = state.wasi_parts();
    let ticket = wasi.files().tickets.get(&number).cloned();
    budget_input(table, &stream, None, ticket, &account).map_err(FsError::trap)?;
    Ok(stream)
}
