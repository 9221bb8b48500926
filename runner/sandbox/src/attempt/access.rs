//! What one attempt may reach outside of its sandbox: what its handler requests and the
//! operator grants to its plugin at this moment.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::attempt::granted::Granted;
use crate::attempt::redact::Redactor;
use crate::attempt::services::Services;
use pgtq_task::{Grant, GrantBook, HandlerInfo, Name, Needs, PushDefaults};

/// The handlers of one plugin file, with what each declares for pushes to it.
pub(crate) type OwnHandlers = Arc<BTreeMap<Name, PushDefaults>>;

/// All handlers of one file.
pub(crate) fn own_handlers(handlers: &[HandlerInfo]) -> OwnHandlers {
    let own = handlers.iter();
    Arc::new(
        own.map(|info| (info.name.clone(), info.push.clone()))
            .collect(),
    )
}

/// What stays the same for all attempts of one handler.
pub(crate) struct Requester {
    /// The plugin's name in grants.
    plugin: Arc<str>,
    info: Arc<HandlerInfo>,
    own: OwnHandlers,
    services: Arc<Services>,
    is_for_pushes_only: bool,
}

impl Requester {
    pub(crate) fn new(
        plugin: Arc<str>,
        info: Arc<HandlerInfo>,
        own: OwnHandlers,
        services: Arc<Services>,
    ) -> Self {
        Requester {
            is_for_pushes_only: info.needs.are_pushes_only(),
            plugin,
            info,
            own,
            services,
        }
    }

    /// The same for a file of another name.
    pub(crate) fn renamed(&self, plugin: Arc<str>) -> Self {
        Requester {
            plugin,
            info: Arc::clone(&self.info),
            own: Arc::clone(&self.own),
            services: Arc::clone(&self.services),
            is_for_pushes_only: self.is_for_pushes_only,
        }
    }
}

/// What one attempt may reach, by the grants as of its start. A clone is another handle
/// to the same.
#[derive(Clone)]
pub(crate) struct Access {
    requester: Arc<Requester>,
    granted: Arc<Granted>,
}

impl Access {
    pub(crate) fn new(requester: Arc<Requester>, granted: Arc<Granted>) -> Self {
        Access { requester, granted }
    }

    /// The plugin's name in grants.
    pub(crate) fn plugin(&self) -> &Arc<str> {
        &self.requester.plugin
    }

    pub(crate) fn needs(&self) -> &Needs {
        &self.requester.info.needs
    }

    /// Whether the handler requests nothing besides pushes, or nothing at all.
    pub(crate) fn is_for_pushes_only(&self) -> bool {
        self.requester.is_for_pushes_only
    }

    /// The handlers of the plugin.
    pub(crate) fn own_handlers(&self) -> &OwnHandlers {
        &self.requester.own
    }

    pub(crate) fn grant(&self) -> &Arc<Grant> {
        &self.granted.grant
    }

    /// The grants as of the start of the attempt: secrets come from here.
    pub(crate) fn book(&self) -> &Arc<GrantBook> {
        &self.granted.book
    }

    /// Redacts the secrets that the plugin may have, if it may have any.
    pub(crate) fn redactor(&self) -> Option<Arc<Redactor>> {
        self.granted.redactor()
    }

    /// What a capability shares between all attempts of the runner.
    pub(crate) fn service<T: Any>(&self) -> &T {
        let service = self.requester.services.get();
        service.expect("a capability adds its services before the first attempt")
    }
}
