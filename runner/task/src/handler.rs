//! The one port between the engine and whatever runs a task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{Attempt, Digest, Grant, HandlerInfo, LimitCut, Report};

/// What [`Handler::call`] returns.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Report> + Send + 'static>>;

/// The code for a task, found by name. The sandbox implements it; engine tests
/// implement it natively.
pub trait Handler: Send + Sync + 'static {
    /// What the plugin said about it.
    fn info(&self) -> &HandlerInfo;

    /// The plugin version it belongs to, if it comes from a file.
    fn digest(&self) -> Option<Digest>;

    /// What its plugin is granted at this moment; nothing, if nobody grants.
    fn grant(&self) -> Arc<Grant> {
        Arc::default()
    }

    /// What it asks for above what its plugin may have at this moment, and does not get.
    fn cut(&self) -> LimitCut {
        LimitCut::default()
    }

    /// The same code under another name of its plugin, and so with the grants of
    /// that one. `None` where the name means nothing.
    fn renamed(&self, _plugin: &str) -> Option<Arc<dyn Handler>> {
        None
    }

    /// Runs one attempt to its end. Never panics and never outlives the
    /// attempt's limits; ends soon after `attempt.signal` is stopped. The
    /// future may be dropped at any time: the attempt is then gone unreported.
    fn call(&self, attempt: Attempt) -> HandlerFuture;
}
