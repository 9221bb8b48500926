//! The handlers of live runners, for checks before a push.

use crate::config::keys::closest;
use pgtq_store::{HandlerRow, Store};
use pgtq_task::{HandlerInfo, Name};

use super::error::Problem;
use super::text;

/// The handlers of live runners at one moment.
pub(crate) struct Handlers {
    rows: Vec<HandlerRow>,
    allow_unknown: bool,
}

impl Handlers {
    pub(crate) async fn load(store: &Store, allow_unknown: bool) -> Result<Self, Problem> {
        let rows = store.handlers().await?;
        Ok(Handlers {
            rows,
            allow_unknown,
        })
    }

    #[cfg(test)]
    pub(crate) fn of(rows: Vec<HandlerRow>, allow_unknown: bool) -> Self {
        Handlers {
            rows,
            allow_unknown,
        }
    }

    /// Whether a live runner has this handler.
    pub(crate) fn runs(&self, name: &Name) -> bool {
        self.rows.iter().any(|row| row.info.name == *name)
    }

    /// Finds a handler; `None` if it is unknown and unknown handlers are allowed.
    pub(crate) fn find(&self, name: &Name) -> Result<Option<&HandlerInfo>, Problem> {
        let found = self.rows.iter().find(|row| row.info.name == *name);
        match found {
            Some(row) => Ok(Some(&row.info)),
            None if self.allow_unknown => Ok(None),
            None => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &Name) -> Problem {
        let push_anyway = "push anyway with --allow-unknown";
        if self.rows.is_empty() {
            return Problem::not_found(format!(
                "handler `{name}` is unknown: no live runner has handlers"
            ))
            .help("start a runner with `pgtq run`")
            .help(push_anyway);
        }
        let mut names: Vec<&str> = self.rows.iter().map(|row| row.info.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let meant = closest(name.as_str(), names.iter().copied());
        let list = text::line(&names.join(", "), 200);
        Problem::not_found(format!("handler `{name}` is not deployed"))
            .maybe_help(meant.map(|name| format!("did you mean `{name}`?")))
            .help(format!("deployed handlers: {list}"))
            .help(push_anyway)
    }
}
