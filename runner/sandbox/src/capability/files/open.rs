//! Opens files and directory listings: regular files and directories alone, and no more
//! than one attempt may have open.

use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};

use crate::attempt::denied::Denied;
use crate::attempt::state::StoreData;
use crate::capability::files::budget::take;
use crate::capability::files::context::{AttemptFiles, ENTRY_BYTES, OPEN_FILES, OPEN_LISTINGS};
use crate::capability::files::directories;
use crate::capability::files::listing::Listing;
use pgtq_task::{LogLevel, toml_key};

type Fd = Resource<Descriptor>;

pub(super) async fn open_at(
    state: &mut StoreData,
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
    let root = state
        .context::<AttemptFiles>()
        .roots
        .get(&fd.rep())
        .cloned();
    let plugin = plugin(state);
    let Some(ticket) = state.context::<AttemptFiles>().files.take(&plugin).await else {
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
                report_read_only(state, root.as_deref(), &path);
            }
            return Err(error);
        }
    };
    let files = state.context::<AttemptFiles>();
    files.tickets.insert(opened.rep(), ticket);
    if let Some(root) = root {
        files.roots.insert(opened.rep(), root);
    }
    Ok(opened)
}

/// The plugin's name in grants.
fn plugin(state: &StoreData) -> Arc<str> {
    let access = state.access();
    // An attempt without access has no directory, and so no handle to open from.
    access.map_or_else(|| Arc::from(""), |access| Arc::clone(access.plugin()))
}

/// Logs what to grant, if the directory is read-only: for this directory only, whatever
/// others are granted.
fn report_read_only(state: &mut StoreData, root: Option<&str>, path: &str) {
    let mut files = state
        .access()
        .into_iter()
        .flat_map(|access| &access.grant().files);
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

pub(super) async fn read_directory(state: &mut StoreData, fd: Fd) -> FsResult<Resource<Listing>> {
    let plugin = plugin(state);
    let Some(ticket) = state.context::<AttemptFiles>().listings.take(&plugin).await else {
        return Err(too_many(state, "directory listings", OPEN_LISTINGS).into());
    };
    let (files, table) = state.context_and_table::<AttemptFiles>();
    let Descriptor::Dir(directory) = table.get(&fd)? else {
        return Err(ErrorCode::NotDirectory.into());
    };
    let listing = Listing::open(Arc::clone(&directory.dir)).await?;
    let listing = table.push(listing)?;
    files.tickets.insert(listing.rep(), ticket);
    Ok(listing)
}

/// WASI has no matching error; this one says to try again later.
fn too_many(state: &mut StoreData, what: &str, limit: usize) -> ErrorCode {
    let logged = std::mem::replace(&mut state.context::<AttemptFiles>().logged, true);
    if !logged {
        let message = format!(
            "an attempt may have {limit} {what} open at a time, and all attempts of a plugin together not many more; close some before opening others"
        );
        let _ = state.logs.lock().write(LogLevel::Warn, &message, "");
    }
    ErrorCode::Busy
}
