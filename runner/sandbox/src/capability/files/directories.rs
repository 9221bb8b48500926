//! The directories that a guest sees: those that its handler requests and that its plugin
//! is granted.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, Dir};
use wasmtime_wasi::runtime::spawn_blocking;
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::attempt::access::Access;
use crate::attempt::denied::Denied;
use crate::attempt::state::StoreData;
use crate::capability::files::context::AttemptFiles;
use pgtq_task::{FileGrant, LogLevel};

/// The granted directories under the guest's names. Opened when the guest first asks; one
/// that is not granted, or cannot be opened, is missing, and the attempt's log says why.
pub(crate) async fn directories(
    state: &mut StoreData,
) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
    if state.access().is_none() {
        return Ok(Vec::new());
    }
    if state.context::<AttemptFiles>().directories.is_none() {
        let opened = open(state).await;
        state.context::<AttemptFiles>().directories = Some(opened);
    }
    let (files, table) = state.context_and_table::<AttemptFiles>();
    let mut directories = Vec::new();
    for (dir, name) in files.directories.iter().flatten() {
        let descriptor = table.push(Descriptor::Dir(dir.clone()))?;
        files
            .roots
            .insert(descriptor.rep(), Arc::from(name.as_str()));
        directories.push((descriptor, name.clone()));
    }
    Ok(directories)
}

async fn open(state: &mut StoreData) -> Vec<(Dir, String)> {
    let (granted, refused) = match state.access() {
        Some(access) => sort(access),
        None => return Vec::new(),
    };
    for name in refused {
        // After this the guest gets an ordinary "not found".
        let _ = denied(&name).report(state);
    }
    let mut directories = Vec::new();
    for (name, FileGrant { dir, write }) in granted {
        let path = dir.clone();
        // The directory may be on a slow disk or on another machine.
        match spawn_blocking(move || open_directory(&path)).await {
            Ok(file) => directories.push((directory(file, write), name)),
            Err(error) => {
                let message = format!(
                    "the directory {name} cannot be opened: {}: {error}; see files.{} in [grants.{}]",
                    dir.display(),
                    quoted(&name),
                    state.access().map_or("NAME", |access| &**access.plugin()),
                );
                tracing::warn!("{message}");
                let _ = state.logs.lock().write(LogLevel::Warn, &message, "");
            }
        }
    }
    directories
}

/// Names with their grants, and names that have none.
fn sort(access: &Access) -> (Vec<(String, FileGrant)>, Vec<String>) {
    let mut granted = Vec::new();
    let mut refused = Vec::new();
    for name in &access.needs().files {
        let mut grants = access.grant().files.iter();
        let same = |(granted, _): &(&String, _)| is_same(granted, name);
        match grants.find(same).map(|(_, grant)| grant) {
            Some(grant) => granted.push((name.clone(), grant.clone())),
            None => refused.push(name.clone()),
        }
    }
    (granted, refused)
}

/// Whether two of the guest's names are the same directory: `/data/` is `/data`.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

fn denied(name: &str) -> Denied {
    Denied {
        what: format!("the directory {}", name.escape_debug()),
        need: None,
        grant: Some(format!("files.{} = \"DIRECTORY\"", quoted(name))),
    }
}

/// As a TOML key. JSON quoting is valid in TOML.
fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

fn open_directory(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(path)
}

fn directory(file: File, write: bool) -> Dir {
    let (perms, mode) = match write {
        true => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
        false => (FsPerms::ReadOnly, OpenMode::READ),
    };
    Dir::new(file, perms, mode, false)
}
