//! Steps with files.

use std::ffi::{CString, c_char, c_int};
use std::fs::{self, File, OpenOptions};
use std::io::{Error, Result, Seek, SeekFrom, Write};

use crate::{Open, Step};

unsafe extern "C" {
    fn symlink(says: *const c_char, at: *const c_char) -> c_int;
}

/// Runs a step, if it is one with files.
pub fn take(step: &Step, open: &mut Open) -> Option<Result<String>> {
    Some(match step {
        Step::Read(path) => fs::read_to_string(path),
        Step::Write(path, text) => fs::write(path, text).map(done),
        Step::Append(path, text) => append(path, text).map(done),
        Step::Fill(path, bytes) => fill(path, *bytes).map(done),
        Step::WriteAt(path, at) => write_at(path, *at).map(done),
        Step::SetLen(path, bytes) => set_len(path, *bytes).map(done),
        Step::List(path) => list(path),
        Step::MakeDir(path) => fs::create_dir(path).map(done),
        Step::Remove(path) => fs::remove_file(path).map(done),
        Step::Rename(from, to) => fs::rename(from, to).map(done),
        Step::HardLink(from, to) => fs::hard_link(from, to).map(done),
        Step::Symlink(says, at) => link(says, at).map(done),
        Step::OpenMany(path, times) => many(*times, || {
            open.files.push(File::open(path)?);
            Ok(())
        }),
        Step::ListMany(path, times) => many(*times, || {
            open.lists.push(fs::read_dir(path)?);
            Ok(())
        }),
        Step::Litter(path, times) => {
            let mut n = 0;
            many(*times, || {
                n += 1;
                File::create(format!("{path}/{n}")).map(drop)
            })
        }
        _ => return None,
    })
}

/// The number of successes, and the first error.
pub fn many(times: u32, mut each: impl FnMut() -> Result<()>) -> Result<String> {
    for n in 0..times {
        if let Err(error) = each() {
            return Ok(format!("{n}, then {:?}: {error}", error.kind()));
        }
    }
    Ok(format!("{times}"))
}

fn done((): ()) -> String {
    "done".to_owned()
}

fn append(path: &str, text: &str) -> Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(text.as_bytes())
}

fn fill(path: &str, bytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let piece = [b'x'; 1_000];
    let mut left = bytes;
    while left > 0 {
        let n = left.min(1_000);
        file.write_all(&piece[..n as usize])?;
        left -= n;
    }
    Ok(())
}

fn write_at(path: &str, at: u64) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(b"x")
}

fn set_len(path: &str, bytes: u64) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.set_len(bytes)
}

fn list(path: &str) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

fn link(says: &str, at: &str) -> Result<()> {
    let (says, at) = (CString::new(says)?, CString::new(at)?);
    // SAFETY: both strings are NUL-terminated and live until after the call.
    match unsafe { symlink(says.as_ptr(), at.as_ptr()) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}
