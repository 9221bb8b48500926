//! The plugin directory, watched.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use super::keeper::Keeper;
use super::load::Loader;
use super::load_journal::LoadJournal;
use super::options::DirectoryOptions;
use super::registry::Registry;
use super::stages::Stages;
use pgtq_sandbox::Sandbox;

/// Requests that may be queued for the loop; further callers wait.
const MAX_REQUESTS: usize = 16;

/// Keeps a [`Registry`] in step with the files of a directory. Dropping it stops the
/// watching; live plugins stay live.
pub struct PluginDirectory {
    requests: mpsc::Sender<oneshot::Sender<()>>,
    ready: watch::Receiver<bool>,
    keeper: AbortOnDropHandle<()>,
    journal: Arc<LoadJournal>,
}

impl PluginDirectory {
    /// Starts watching `dir`, which need not exist yet. Requires a tokio runtime. Blocks
    /// briefly on the journal's disk.
    pub fn start(
        dir: PathBuf,
        options: DirectoryOptions,
        sandbox: Sandbox,
        registry: Registry,
    ) -> PluginDirectory {
        PluginDirectory::start_with(dir, options, Box::new(sandbox), registry)
    }

    pub(super) fn start_with(
        dir: PathBuf,
        options: DirectoryOptions,
        stages: Box<dyn Stages>,
        registry: Registry,
    ) -> PluginDirectory {
        let (requests, receiver) = mpsc::channel(MAX_REQUESTS);
        let (started, start) = oneshot::channel();
        requests
            .try_send(started)
            .expect("the channel is new and has room");
        let (ready_sender, ready) = watch::channel(false);
        let journal = LoadJournal::open(options.load_journal.as_deref());
        let loader = Loader::new(&dir, stages, registry.clone(), Arc::clone(&journal));
        let keeper = Keeper::new(dir, options, registry, loader);
        let keeper = tokio::spawn(async move {
            let announce = async move {
                if start.await.is_ok() {
                    ready_sender.send_replace(true);
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = keeper.run(receiver) => {}
                () = announce => {}
            }
        });
        PluginDirectory {
            requests,
            ready,
            keeper: AbortOnDropHandle::new(keeper),
            journal,
        }
    }

    /// Returns when the files that existed at the start are live or rejected.
    /// Cancel-safe.
    pub async fn ready(&self) {
        // An error would mean that the loop has ended: no more changes follow.
        let _ = self.ready.clone().wait_for(|ready| *ready).await;
    }

    /// Turns true when [`PluginDirectory::ready`] returns.
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    /// Scans the directory now, and returns when every file in it is live, rejected or
    /// retired. A file that never stops changing is waited for once. Cancel-safe: the
    /// scan continues.
    pub async fn rescan(&self) {
        let (done, answer) = oneshot::channel();
        if self.requests.send(done).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Stops watching and ends a running compilation. Live plugins stay live.
    pub async fn stop(mut self) {
        self.keeper.abort();
        // The error says that it was aborted.
        let _ = (&mut self.keeper).await;
    }
}

impl Drop for PluginDirectory {
    fn drop(&mut self) {
        // The process may end before the running steps have been stopped.
        self.journal.close();
    }
}
