//! Capabilities that plugins request and are not granted, for operators and for the
//! database.

use super::file_name::plugin_name;
use super::snapshot::Snapshot;
use super::status::PluginStatus;
use pgtq_task::{Handler, LimitCut, PluginGrantReport};

/// A file's status as other programs see it.
#[derive(Debug, serde::Serialize)]
pub struct PluginReport<'a> {
    #[serde(flatten)]
    status: &'a PluginStatus,
    /// Absent if its handlers request nothing, or it serves none.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<PluginGrantReport>,
}

impl Snapshot {
    /// Every known file, with what its handlers request and are granted at this moment: a
    /// grant may change without a new snapshot.
    pub fn report(&self) -> Vec<PluginReport<'_>> {
        let files = self.plugins.iter();
        files
            .map(|status| PluginReport {
                status,
                needs: self.needs_of(status),
            })
            .collect()
    }

    /// What the handlers of one file request and are granted at this moment.
    pub fn needs(&self, file: &str) -> Option<PluginGrantReport> {
        self.needs_of(self.plugin(file)?)
    }

    fn needs_of(&self, status: &PluginStatus) -> Option<PluginGrantReport> {
        let names = status.handlers.iter();
        let handlers: Vec<&dyn Handler> = names
            .filter_map(|name| self.handlers.get(name).map(AsRef::as_ref))
            .collect();
        let grant = handlers.first()?.grant();
        let needs = handlers.iter().map(|handler| &handler.info().needs);
        PluginGrantReport::of(plugin_name(&status.file), needs, &grant)
    }

    /// Logs the limits that handlers of a file request and do not get, with the lines
    /// that would allow them.
    fn warn_of_cuts(&self, file: &str) {
        let names = self
            .plugin(file)
            .into_iter()
            .flat_map(|status| &status.handlers);
        let handlers: Vec<&dyn Handler> = names
            .filter_map(|name| self.handlers.get(name).map(AsRef::as_ref))
            .collect();
        let cuts = handlers.iter().map(|handler| handler.cut());
        let cut = cuts.fold(LimitCut::default(), |sum, cut| sum.max(&cut));
        if !cut.is_empty() {
            let plugin = plugin_name(file);
            let reasons = cut.reasons(plugin).join(", ");
            tracing::warn!(
                file,
                "plugin {file} requests more than is allowed, and runs with less: {reasons}; to allow it, put into pgtq.toml:\n{}",
                cut.toml(plugin)
            );
        }
    }

    /// Logs the capabilities that a file requests and is not granted, with the lines that
    /// would grant them.
    pub fn warn_of_missing_grants(&self, file: &str) {
        self.warn_of_cuts(file);
        let Some(needs) = self.needs(file).filter(|needs| !needs.refused.is_empty()) else {
            return;
        };
        let (asked, granted) = (needs.asked, needs.granted);
        let refused = needs.refused.join(", ");
        tracing::warn!(
            file,
            asked,
            granted,
            "plugin {file} declares needs that are not granted: {refused}; to grant it, put into pgtq.toml:\n{}",
            needs.toml
        );
    }
}
