//! Looks, about once a second, at what decides about pushes of plugins: how many tasks
//! wait for each of them, and which handlers other plugins serve, too.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::maintenance::published;

/// Time between two looks while plugins push.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks until its future is dropped: when handlers change, and in each second in which
/// a plugin pushes or may not push. An idle runner asks the database nothing.
pub(crate) async fn follow(core: Arc<Core>) {
    let mut changes = core.registry.watch();
    let facts = &core.config.push_facts;
    let mut is_due = true;
    loop {
        if is_due && core.served.is_served() {
            let snapshot = core.registry.snapshot();
            let handlers = published(&snapshot);
            match core.store.push_look(core.runner(), &handlers).await {
                Ok(look) => {
                    let plugins = snapshot.plugins.iter();
                    facts.set(look, plugins.map(|plugin| plugin.handlers.as_slice()));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not count the waiting tasks; the last count stays");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => is_due = facts.is_stale(),
            changed = changes.changed() => match changed {
                Ok(()) => is_due = true,
                Err(_) => return,
            },
        }
    }
}
