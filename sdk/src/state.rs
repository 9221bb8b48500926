//! State kept between the attempts of a task: the checkpoint and results of steps.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::json;

/// The runner limits names to 200 bytes, of which a step's name is one part.
const NAME_BYTES: usize = 128;

/// The checkpoint of a task: one JSON value. Returned by
/// [`Ctx::state`](crate::Ctx::state). Checkpoint and results of steps together are
/// limited to 1 MiB of JSON by default.
///
/// [`State::save`] takes effect at once and survives a failure of the attempt. If
/// the attempt has an open SQL transaction, the value is saved in it instead: both
/// are committed or rolled back together.
///
/// ```
/// use pgtq_sdk::prelude::*;
///
/// #[handler]
/// fn import(ctx: &Ctx, lines: Vec<String>) -> Result<usize> {
///     let done: usize = ctx.state().load()?.unwrap_or(0);
///     for (index, line) in lines.iter().enumerate().skip(done) {
///         info!("importing {line}");
///         ctx.state().save(&(index + 1))?;
///     }
///     Ok(lines.len())
/// }
///
/// let ctx = Ctx::test().state(1);
/// assert_eq!(ctx.run("import", json!([["a", "b"]])), Ok(json!(2)));
/// assert_eq!(ctx.logs().len(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct State {
    host: Host,
}

impl State {
    pub(crate) fn new(host: Host) -> Self {
        State { host }
    }

    /// The value last saved by this or an earlier attempt; `None` if there is none.
    ///
    /// # Errors
    /// Code `state` if the value is not a `T`, `unavailable` or `timeout` if the
    /// database does not respond.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        match self.host.load("")? {
            Some(text) => decode(&text, "the saved state").map(Some),
            None => Ok(None),
        }
    }

    /// Saves a value for later attempts. It replaces the previous value.
    ///
    /// # Errors
    /// Code `limit` if the state would exceed its limit, `json` if the value cannot
    /// be written as JSON, `unavailable` or `timeout` if the database does not
    /// respond, `lost` if the task belongs to another attempt.
    pub fn save<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        let with_sql = self
            .host
            .with_notes(|notes| notes.statements > notes.committed);
        let text = json::text(value).map_err(|fault| fault.about("the state"))?;
        self.host.save("", &text, with_sql)
    }
}

/// See [`Ctx::step`](crate::Ctx::step).
pub(crate) fn step<T: Serialize + DeserializeOwned>(
    host: &Host,
    name: &str,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    begin(host, name)?;
    let key = format!("step/{name}");
    if let Some(text) = host.load(&key)? {
        return decode(&text, &format!("the saved result of step `{name}`"));
    }
    let before = host.with_notes(|notes| notes.statements);
    let result = work()?;
    let with_sql = host.with_notes(|notes| notes.statements > before);
    let text = json::text(&result)
        .map_err(|fault| fault.about(&format!("the result of step `{name}`")))?;
    host.save(&key, &text, with_sql)
        .map_err(|error| error.within(&format!("cannot save the result of step `{name}`")))?;
    Ok(result)
}

/// Validates the name, before the work is done.
fn begin(host: &Host, name: &str) -> Result<()> {
    let invalid = |message: String| Err(Error::from_host("invalid", message));
    if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
        return invalid(format!(
            "a step name has 1 to {NAME_BYTES} bytes and no control characters, got `{}`",
            name.chars().take(40).collect::<String>().escape_debug()
        ));
    }
    let is_new = host.with_notes(|notes| {
        let is_new = !notes.steps.iter().any(|step| step == name);
        if is_new {
            notes.steps.push(name.to_owned());
        }
        is_new
    });
    match is_new {
        true => Ok(()),
        false => invalid(format!(
            "step `{name}` is used twice in one attempt: give each step a unique name, as in \
             `step(&format!(\"{name}-{{number}}\"), ...)`"
        )),
    }
}

fn decode<T: DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let wanted = std::any::type_name::<T>();
        Error::new(format!("{what} is not a `{wanted}`: {error}")).code("state")
    })
}
