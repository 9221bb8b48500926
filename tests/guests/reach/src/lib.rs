//! A guest that runs the steps in its arguments, through `std::fs` and `std::net`. A failed
//! step does not stop it. It returns the outcome of every step.

mod ask;
mod disk;
mod wire;

use pgtq_sdk::prelude::*;

/// A step. Files and connections stay open until the end.
#[data]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Reads a file as text.
    Read(String),
    /// Writes a text to a file, truncated before.
    Write(String, String),
    /// Appends a text to a file.
    Append(String, String),
    /// Writes this many bytes to a file, in chunks.
    Fill(String, u64),
    /// Writes one byte at this offset.
    WriteAt(String, u64),
    /// Changes a file's length.
    SetLen(String, u64),
    /// Lists a directory, sorted.
    List(String),
    /// Creates a directory.
    MakeDir(String),
    /// Removes a file.
    Remove(String),
    /// Renames a file.
    Rename(String, String),
    /// Creates a hard link.
    HardLink(String, String),
    /// Creates a symbolic link: its target and its path.
    Symlink(String, String),
    /// Opens a file this many times.
    OpenMany(String, u32),
    /// Starts listing a directory this many times, without finishing.
    ListMany(String, u32),
    /// Creates this many empty files in a directory.
    Litter(String, u32),
    /// Resolves a name.
    Lookup(String),
    /// Connects. Later steps use the newest connection.
    Connect(String),
    /// Connects this many times.
    ConnectMany(String, u32),
    /// Sets the read timeout, in milliseconds.
    ReadTimeout(u64),
    /// Sends a line.
    Say(String),
    /// Reads a line.
    Hear,
    /// Sends this many bytes.
    Send(u64),
    /// Receives until the end, and counts the bytes.
    Drain,
    /// Closes the newest connection.
    Close,
    /// Opens a UDP socket and sends a byte to an address.
    Udp(String),
    /// Listens on an address.
    Listen(String),
    /// Requests a URL, and returns status and body.
    Get(String),
    /// Requests a URL with a header: its name and value.
    GetWith(String, String, String),
    /// Sends this many bytes to a URL.
    Post(String, u64),
    /// Requests a URL and counts the bytes of the body, in chunks.
    Count(String),
    /// Requests a URL and reads the whole body into memory.
    Keep(String),
    /// Saves a value this many times.
    SaveMany(u32),
    /// Reads a secret, and writes it to every output of a handler.
    Show(String),
    /// Reads a secret, and returns it.
    Give(String),
    /// Reads a secret, and saves it.
    SaveSecret(String),
    /// Reads a secret, and pushes a task with it.
    PushSecret(String),
    /// Reads a secret, and panics with it.
    PanicWith(String),
    /// Reads a secret, and fails with it.
    FailWith(String),
}

/// The open files and connections.
#[derive(Default)]
pub struct Open {
    pub files: Vec<std::fs::File>,
    pub lists: Vec<std::fs::ReadDir>,
    pub connections: Vec<std::io::BufReader<std::net::TcpStream>>,
}

/// Runs every step and returns the outcomes.
#[handler(retries = 0)]
fn reach(ctx: &Ctx, Json(steps): Json<Vec<Step>>) -> Result<Vec<String>> {
    let mut open = Open::default();
    let answers = steps.iter().map(|step| answer(ctx, step, &mut open));
    answers.collect()
}

fn answer(ctx: &Ctx, step: &Step, open: &mut Open) -> Result<String> {
    if let Step::FailWith(name) = step {
        let value = ctx.secret(name).read()?;
        let details = json!({ "sent": value });
        return Err(Error::new(format!("401 for {value}")).details(details));
    }
    if let Some(said) = ask::take(ctx, step) {
        return Ok(said.unwrap_or_else(|error| format!("{}: {error}", error.code_text())));
    }
    Ok(
        match disk::take(step, open).or_else(|| wire::take(step, open)) {
            Some(Ok(said)) => said,
            Some(Err(error)) => format!("{:?}: {error}", error.kind()),
            None => "not a step".to_owned(),
        },
    )
}
