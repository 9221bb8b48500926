//! Checks and raises the limit on open files.

use std::io;

use super::error::Problem;

/// Minimum number of descriptors for a sandbox: the compiler's child process needs 64, and
/// a runner's connections, pipes and event queues need about as many.
const MIN_FILES: u64 = 128;
/// The new soft limit if it is below [`MIN_FILES`].
const RAISED_LIMIT: u64 = 1_024;

/// Raises a soft limit that is too low. Fails if the hard limit is too low.
pub(crate) fn check() -> Result<(), Problem> {
    let limit = get().map_err(|error| {
        Problem::failed(format!("cannot read the limit on open files: {error}"))
    })?;
    match change(limit) {
        Change::None => Ok(()),
        Change::Raise(to) => set(to).map_err(|_| too_few(limit.rlim_cur)),
        Change::Impossible => Err(too_few(limit.rlim_max)),
    }
}

#[derive(Debug, PartialEq)]
enum Change {
    None,
    /// Raise the soft limit to this.
    Raise(u64),
    /// The hard limit is too low.
    Impossible,
}

fn change(limit: libc::rlimit) -> Change {
    match limit {
        limit if limit.rlim_cur >= MIN_FILES => Change::None,
        limit if limit.rlim_max >= MIN_FILES => Change::Raise(limit.rlim_max.min(RAISED_LIMIT)),
        _ => Change::Impossible,
    }
}

fn too_few(limit: u64) -> Problem {
    Problem::failed(format!(
        "the limit on open files is {limit}, but plugins need at least {MIN_FILES}"
    ))
    .help(format!(
        "raise the limit: `ulimit -n {RAISED_LIMIT}`, LimitNOFILE={RAISED_LIMIT} in a systemd unit, `--ulimit nofile={RAISED_LIMIT}` for a container"
    ))
}

fn get() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit fills the struct it is given.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(soft: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        ..get()?
    };
    // SAFETY: setrlimit only reads the struct it is given.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_soft_limit_is_raised_and_a_low_hard_limit_is_an_error() {
        let limit = |rlim_cur, rlim_max| libc::rlimit { rlim_cur, rlim_max };
        assert_eq!(change(limit(1_024, 4_096)), Change::None);
        assert_eq!(change(limit(128, 128)), Change::None);
        assert_eq!(change(limit(32, 4_096)), Change::Raise(1_024));
        assert_eq!(change(limit(32, 200)), Change::Raise(200));
        assert_eq!(change(limit(32, 32)), Change::Impossible);
    }
}
