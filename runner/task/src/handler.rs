//! The interface between the engine and the code that runs a task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::attempt::Attempt;
use crate::grant::Grant;
use crate::ids::Digest;
use crate::limit_report::LimitCut;
use crate::manifest::HandlerInfo;
use crate::outcome::Report;

/// The return type of [`Handler::call`].
pub type HandlerFuture = Pin<Box<dyn Future<Output = Report> + Send + 'static>>;

/// The code for a task, found by name. The sandbox implements it for Wasm; engine tests
/// implement it natively.
pub trait Handler: Send + Sync + 'static {
    /// The handler's description from the plugin.
    fn info(&self) -> &HandlerInfo;

    /// The plugin version it belongs to, if it comes from a file.
    fn digest(&self) -> Option<Digest>;

    /// The current grant of its plugin; empty by default.
    fn grant(&self) -> Arc<Grant> {
        Arc::default()
    }

    /// Limits that it requests above its plugin's current caps, and does not get.
    fn cut(&self) -> LimitCut {
        LimitCut::default()
    }

    /// The same code under another plugin name, and so with that plugin's grants. `None` if the
    /// implementation has no plugin names.
    fn renamed(&self, _plugin: &str) -> Option<Arc<dyn Handler>> {
        None
    }

    /// Runs one attempt to its end. Never panics and never exceeds the attempt's limits; returns
    /// soon after `attempt.signal` is stopped. The future may be dropped at any time: the
    /// attempt is then abandoned without a report.
    fn call(&self, attempt: Attempt) -> HandlerFuture;
}
