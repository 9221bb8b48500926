//! File system events, reduced to one hint: scan now.
//!
//! Events are not reliable: network file systems, full queues and a replaced directory
//! lose them. Their content is ignored, except to skip the events that our own reading
//! causes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// A watch on one directory; ends when dropped.
pub(super) struct Watcher {
    // Held for its Drop.
    _watcher: RecommendedWatcher,
    identity: (u64, u64),
    broken: Arc<AtomicBool>,
}

impl Watcher {
    /// Watches `dir`; `identity` is its device and inode as of a moment ago.
    pub(super) fn new(
        dir: &Path,
        identity: (u64, u64),
        hint: Arc<Notify>,
    ) -> notify::Result<Watcher> {
        let broken = Arc::new(AtomicBool::new(false));
        let (flag, own_path) = (Arc::clone(&broken), dir.to_owned());
        // Called on notify's thread. `Notify` keeps at most one pending hint, so a storm
        // of events costs no memory.
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            match &event {
                Ok(event) if !is_a_hint(event) => return,
                Ok(event) if removes_directory(event, &own_path) => {
                    flag.store(true, Ordering::Relaxed);
                }
                Ok(_) => {}
                Err(_) => flag.store(true, Ordering::Relaxed),
            }
            hint.notify_one();
        })?;
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        Ok(Watcher {
            _watcher: watcher,
            identity,
            broken,
        })
    }

    /// Whether the watch still covers the directory with this identity.
    pub(super) fn is_good_for(&self, identity: (u64, u64)) -> bool {
        self.identity == identity && !self.broken.load(Ordering::Relaxed)
    }
}

/// Opening and reading a plugin causes events too. Treating them as hints would make
/// every scan cause the next one. Names are ignored: the target of a link, which may be
/// hidden, may be the file that changes.
fn is_a_hint(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => event.need_rescan(),
        _ => true,
    }
}

/// The directory itself was removed or moved: the watch is on the wrong inode.
fn removes_directory(event: &Event, dir: &Path) -> bool {
    let away = matches!(
        event.kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    );
    away && event.paths.iter().any(|path| path == dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_reads_give_no_hint_but_finished_writes_and_overflows_do() {
        let hint = |kind| is_a_hint(&Event::new(kind));
        let access = |kind| EventKind::Access(kind);
        assert!(!hint(access(AccessKind::Open(AccessMode::Any))));
        assert!(!hint(access(AccessKind::Close(AccessMode::Read))));
        assert!(!hint(access(AccessKind::Read)));
        assert!(hint(access(AccessKind::Close(AccessMode::Write))));
        assert!(hint(EventKind::Create(notify::event::CreateKind::File)));
        let overflow = Event::new(access(AccessKind::Any)).set_flag(notify::event::Flag::Rescan);
        assert!(is_a_hint(&overflow));
    }
}
