//! Refreshes, about once a second, the data that decides about pushes of plugins: how
//! many tasks wait for each plugin, and which handlers other plugins serve.

use std::sync::Arc;
use std::time::Duration;

use super::published_handlers::published;
use crate::state::core::Core;

/// Time between two refreshes while plugins push.
const INTERVAL: Duration = Duration::from_secs(1);

/// Refreshes until its future is dropped: the handlers of other runners once a second,
/// and the number of waiting tasks in each second in which a plugin pushes or is denied
/// pushes. The first push after a quiet time must not be judged by an old answer.
pub(crate) async fn follow(core: Arc<Core>) {
    let mut changes = core.registry.watch();
    let facts = &core.config.push_facts;
    let mut is_due = true;
    loop {
        if core.schema.is_compatible() {
            refresh(&core, is_due).await;
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

async fn refresh(core: &Core, with_waiting: bool) {
    let facts = &core.config.push_facts;
    let snapshot = core.registry.snapshot();
    let handlers = published(&snapshot);
    let looked = match with_waiting {
        true => core
            .store
            .push_look(core.runner(), &handlers)
            .await
            .map(|look| {
                let plugins = snapshot.plugins.iter();
                let plugins = plugins.map(|plugin| plugin.handlers.as_slice());
                if let Some(reached) = facts.set(look, plugins) {
                    tracing::warn!("pushes by plugins are rejected: {reached}");
                }
            }),
        // Only other runners could serve the missing handlers.
        false if handlers.is_empty() => Ok(()),
        false => {
            let elsewhere = core.store.served_elsewhere(core.runner(), &handlers).await;
            elsewhere.map(|names| facts.set_elsewhere(names))
        }
    };
    if let Err(error) = looked {
        tracing::warn!(%error, "could not refresh the data for checks of pushes; using the previous data");
    }
}
