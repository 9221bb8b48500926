//! `wasi:filesystem`, with the calls that write, open and list replaced.
//!
//! wasmtime handles paths: it resolves every one beneath its directory (`openat2` with
//! `RESOLVE_BENEATH`), so `..` and links lead nowhere else, and it runs every call on
//! threads that may block. This module counts what wasmtime does not: bytes written,
//! files created, and handles open.

mod budget;
mod context;
mod directories;
mod links;
mod listing;
mod open;

use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};

use crate::attempt::host_call::Caller;
use crate::attempt::state::StoreData;
use crate::capability::files::budget::{count_output, fill_hole, keep_input, take};
use crate::capability::files::context::{AttemptFiles, ENTRY_BYTES};
use crate::capability::files::listing::Listing;
use crate::capability::files::open::{open_at, read_directory};
use crate::capability::registration::{Capability, no_services};
use crate::wasi::replace::{VERSION, replace};

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["wasi:filesystem/preopens", "wasi:filesystem/types"],
    link,
    add_services: no_services,
};

fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, WasiFilesystem>(linker, StoreData::filesystem)?;
    preopens::add_to_linker::<_, WasiFilesystem>(linker, StoreData::filesystem)?;
    linker.allow_shadowing(true);
    let mut preopens = linker.instance(&format!("wasi:filesystem/preopens@{VERSION}"))?;
    preopens.func_wrap_async("get-directories", |mut store: Caller<'_>, (): ()| {
        Box::new(async move { Ok((directories::directories(store.data_mut()).await?,)) })
    })?;
    let mut types = linker.instance(&format!("wasi:filesystem/types@{VERSION}"))?;
    link_writing(&mut types)?;
    links::link(&mut types)?;
    link_opening(&mut types)?;
    linker.allow_shadowing(false);
    Ok(())
}

type Fd = Resource<Descriptor>;

fn link_writing(types: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
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

fn link_opening(types: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
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
            let files = state.context::<AttemptFiles>();
            files.tickets.remove(&number);
            files.roots.remove(&number);
            Ok(())
        },
    )?;
    replace!(
        types,
        "[method]directory-entry-stream.read-directory-entry",
        |state, (listing: Resource<Listing>)| async {
            state.table().get_mut(&listing)?.next().await
        }
    );
    let listing = ResourceType::host::<Listing>();
    types.resource("directory-entry-stream", listing, |mut store, number| {
        let (files, table) = store.data_mut().context_and_table::<AttemptFiles>();
        table.delete(Resource::<Listing>::new_own(number))?;
        files.tickets.remove(&number);
        Ok(())
    })
}
