//! Calls that give an existing file another name or other times.
//!
//! A guest creates no symbolic links and no special files, and it moves none that others
//! have created: under another name a link leads somewhere else for programs outside of
//! the sandbox that follow it. It may stat them, read the target of a link, and remove
//! them.

use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsError, FsResult};

use crate::attempt::state::StoreData;
use crate::capability::files::budget::take;
use crate::capability::files::context::ENTRY_BYTES;
use crate::wasi::replace::replace;

type Fd = Resource<Descriptor>;

pub(crate) fn link(types: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    replace!(
        types,
        "[method]descriptor.link-at",
        |state, (fd: Fd, flags: PathFlags, old: String, to: Fd, new: String)| async {
            take(state, ENTRY_BYTES)?;
            let old = EntryName::of(state, &fd, old).await?;
            let done = match old.check(state, PathFlags::empty()).await {
                Ok(()) => {
                    let (from, name) = old.get();
                    state.filesystem().link_at(from, flags, name, to, new).await
                }
                Err(error) => Err(error),
            };
            old.close(state)?;
            done
        }
    );
    replace!(
        types,
        "[method]descriptor.rename-at",
        |state, (fd: Fd, old: String, to: Fd, new: String)| async {
            let old = EntryName::of(state, &fd, old).await?;
            let done = match old.check(state, PathFlags::empty()).await {
                Ok(()) => {
                    let (from, name) = old.get();
                    state.filesystem().rename_at(from, name, to, new).await
                }
                Err(error) => Err(error),
            };
            old.close(state)?;
            done
        }
    );
    replace!(
        types,
        "[method]descriptor.set-times-at",
        |state, (fd: Fd, flags: PathFlags, path: String, read: NewTimestamp, written: NewTimestamp)| async {
            let at = EntryName::of(state, &fd, path).await?;
            let done = match at.check(state, flags).await {
                Ok(()) => {
                    let (dir, name) = at.get();
                    state.filesystem().set_times_at(dir, flags, name, read, written).await
                }
                Err(error) => Err(error),
            };
            at.close(state)?;
            done
        }
    );
    // wasmtime follows none out of the directory, but other programs that read there
    // would.
    replace!(types, "[method]descriptor.symlink-at", |_state, (_fd: Fd, _old: String, _new: String)| async {
        FsResult::<()>::Err(ErrorCode::NotPermitted.into())
    });
    Ok(())
}

/// A name in an open directory: the checked entry is the one that the call finds,
/// whichever directories are renamed in between.
struct EntryName {
    fd: u32,
    /// Whether the directory was opened for this.
    opened: bool,
    name: String,
}

impl EntryName {
    async fn of(state: &mut StoreData, fd: &Fd, path: String) -> FsResult<EntryName> {
        let trimmed = path.trim_end_matches('/');
        let Some((parent, name)) = trimmed.rsplit_once('/') else {
            return Ok(EntryName {
                fd: fd.rep(),
                opened: false,
                // A trailing slash follows a link, and is for directories only.
                name: match trimmed.is_empty() {
                    true => path,
                    false => trimmed.to_owned(),
                },
            });
        };
        // `/name` stays an absolute path, which is denied.
        let parent = if parent.is_empty() { "/" } else { parent };
        let dir = Resource::new_borrow(fd.rep());
        let opened = state
            .filesystem()
            .open_at(
                dir,
                PathFlags::SYMLINK_FOLLOW,
                parent.to_owned(),
                OpenFlags::DIRECTORY,
                DescriptorFlags::READ,
            )
            .await?;
        Ok(EntryName {
            fd: opened.rep(),
            opened: true,
            name: name.to_owned(),
        })
    }

    fn get(&self) -> (Fd, String) {
        (Resource::new_borrow(self.fd), self.name.clone())
    }

    /// Rejects anything that is neither a file nor a directory.
    async fn check(&self, state: &mut StoreData, flags: PathFlags) -> FsResult<()> {
        let (dir, name) = self.get();
        match state.filesystem().stat_at(dir, flags, name).await?.type_ {
            DescriptorType::RegularFile | DescriptorType::Directory => Ok(()),
            _ => Err(ErrorCode::NotPermitted.into()),
        }
    }

    fn close(self, state: &mut StoreData) -> FsResult<()> {
        if self.opened {
            let dropped = HostDescriptor::drop(&mut state.filesystem(), Resource::new_own(self.fd));
            dropped.map_err(FsError::trap)?;
        }
        Ok(())
    }
}
