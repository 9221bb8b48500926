//! Keeps the list of this runner's handlers in the database up to date.

use std::sync::Arc;

use crate::plugin::snapshot::Snapshot;
use crate::state::core::Core;
use pgtq_store::PublishedHandler;

/// Publishes this runner's handlers to the database whenever they change.
pub(crate) async fn follow(core: Arc<Core>) {
    let mut changes = core.registry.watch();
    loop {
        publish(&core).await;
        core.wake_all();
        core.beat_now.notify_one();
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Publishes the handlers of the current snapshot. After a failure the next change or
/// registration publishes them again; until then pushes only pay for extra checks.
pub(crate) async fn publish(core: &Core) {
    let handlers = published(&core.registry.snapshot());
    if let Err(error) = core.store.publish_handlers(core.runner(), &handlers).await {
        tracing::warn!(%error, "could not publish the handlers");
    }
}

/// The handlers of a snapshot, as the database keeps them.
pub(crate) fn published(snapshot: &Snapshot) -> Vec<PublishedHandler> {
    let live = snapshot.plugins.iter().flat_map(|plugin| {
        let of = plugin.plugin.as_ref().map_or_else(String::new, |info| {
            format!("{} {}", info.name, info.version)
        });
        plugin
            .handlers
            .iter()
            .map(move |name| (name, plugin, of.clone()))
    });
    live.filter_map(|(name, plugin, of)| {
        let handler = snapshot.handlers.get(name)?;
        Some(PublishedHandler {
            info: handler.info().clone(),
            digest: handler.digest()?,
            file: plugin.file.clone(),
            plugin: of,
        })
    })
    .collect()
}
