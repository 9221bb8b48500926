//! What one attempt leaves for the next: the checkpoint, and results of steps.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::json;

/// Names of steps are part of names in the runner, which end at 200 bytes.
const NAME_BYTES: usize = 128;

/// The checkpoint of a task: one value. With all results of steps it is at most
/// 1 MiB of JSON.
///
/// Saved at once, and still there if the attempt fails. Only after SQL of the
/// attempt it is saved in the same transaction: the two are true together.
#[derive(Debug, Clone)]
pub struct State {
    host: Host,
}

impl State {
    pub(crate) fn new(host: Host) -> Self {
        State { host }
    }

    /// What an earlier attempt saved; `None` if none did.
    ///
    /// # Errors
    /// Of code `state` if it is not a `T`, and what hinders loading.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        match self.host.load("")? {
            Some(text) => decode(&text, "the saved state").map(Some),
            None => Ok(None),
        }
    }

    /// Saves a value for the next attempt, in the place of what was saved before.
    ///
    /// # Errors
    /// `limit` if it is larger than the limit, and what else hinders saving.
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
        return decode(&text, &format!("the kept result of step `{name}`"));
    }
    let before = host.with_notes(|notes| notes.statements);
    let result = work()?;
    let with_sql = host.with_notes(|notes| notes.statements > before);
    let text = json::text(&result)
        .map_err(|fault| fault.about(&format!("the result of step `{name}`")))?;
    host.save(&key, &text, with_sql)
        .map_err(|error| error.within(&format!("step `{name}` is done, but not its keeping")))?;
    Ok(result)
}

/// Checked before the work is done: afterwards it would be too late.
fn begin(host: &Host, name: &str) -> Result<()> {
    let refused = |message: String| Err(Error::from_host("invalid", message));
    if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
        return refused(format!(
            "a step's name has 1 to {NAME_BYTES} bytes and no control characters: `{}`",
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
        false => refused(format!(
            "step `{name}` is used twice in one attempt: give each step a name of its own, as in \
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
