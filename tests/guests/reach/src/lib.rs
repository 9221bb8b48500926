//! A guest that does what its arguments say, step by step, through `std::fs` and
//! `std::net`: a step that fails does not stop it, and every answer is returned.

mod ask;
mod disk;
mod wire;

use pgtq_sdk::prelude::*;

/// One thing to do. Files and connections stay open until the end.
#[data]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Reads a file as text.
    Read(String),
    /// Writes a text over a file.
    Write(String, String),
    /// Adds a text to a file's end.
    Append(String, String),
    /// Writes this many bytes in one file, piece by piece.
    Fill(String, u64),
    /// Writes one byte at this place.
    WriteAt(String, u64),
    /// Changes a file's length.
    SetLen(String, u64),
    /// Names what a directory holds, sorted.
    List(String),
    /// Makes a directory.
    MakeDir(String),
    /// Removes a file.
    Remove(String),
    /// Renames.
    Rename(String, String),
    /// Makes a second name for a file.
    HardLink(String, String),
    /// Makes a symbolic link: what it says, and where it is.
    Symlink(String, String),
    /// Opens a file this many times.
    OpenMany(String, u32),
    /// Lists a directory this many times without ending one.
    ListMany(String, u32),
    /// Makes this many empty files in a directory.
    Litter(String, u32),
    /// Resolves a name.
    Lookup(String),
    /// Connects and keeps the connection; later steps use the newest.
    Connect(String),
    /// Connects this many times.
    ConnectMany(String, u32),
    /// Sets a timeout for reading, milliseconds.
    ReadTimeout(u64),
    /// Sends a line.
    Say(String),
    /// Reads a line.
    Hear,
    /// Sends this many bytes.
    Send(u64),
    /// Receives until the end, and counts.
    Drain,
    /// Closes the newest connection.
    Close,
    /// Opens a UDP socket and sends a byte to an address.
    Udp(String),
    /// Listens on an address.
    Listen(String),
    /// Asks for a URL: status and body.
    Get(String),
    /// The same with a header: its name and value.
    GetWith(String, String, String),
    /// Sends this many bytes to a URL.
    Post(String, u64),
    /// Asks for a URL and counts the body's bytes, piece by piece.
    Count(String),
    /// Asks for a URL and keeps all of its body.
    Keep(String),
    /// Saves a value this many times.
    SaveMany(u32),
    /// Reads a secret, and shows it in every way that a handler has.
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

/// What steps leave open.
#[derive(Default)]
pub struct Open {
    pub files: Vec<std::fs::File>,
    pub lists: Vec<std::fs::ReadDir>,
    pub connections: Vec<std::io::BufReader<std::net::TcpStream>>,
}

/// Does every step and says what came of it.
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
