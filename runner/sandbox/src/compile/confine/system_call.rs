//! The result of a system call.

use std::io;

/// An error if the call returned anything but 0.
pub(super) fn done(code: libc::c_long) -> io::Result<()> {
    match code {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
