//! Whether this process may open the files that a sandbox needs.

use std::io;

use super::error::Problem;

/// Descriptors without which no sandbox works: the compiler's child process takes 64,
/// a runner's connections, pipes and event queues about as many.
const LEAST: u64 = 128;
/// What the soft limit is raised to where it is below [`LEAST`].
const ENOUGH: u64 = 1_024;

/// Raises a soft limit that is too low; fails where the hard limit is.
pub(crate) fn check() -> Result<(), Problem> {
    let limit = get().map_err(|error| {
        Problem::failed(format!("cannot read the limit of open files: {error}"))
    })?;
    match wanted(limit) {
        Wanted::Nothing => Ok(()),
        Wanted::Raise(to) => set(to).map_err(|_| too_few(limit.rlim_cur)),
        Wanted::More => Err(too_few(limit.rlim_max)),
    }
}

#[derive(Debug, PartialEq)]
enum Wanted {
    Nothing,
    /// The soft limit can be this.
    Raise(u64),
    /// The hard limit is too low.
    More,
}

fn wanted(limit: libc::rlimit) -> Wanted {
    match limit {
        limit if limit.rlim_cur >= LEAST => Wanted::Nothing,
        limit if limit.rlim_max >= LEAST => Wanted::Raise(limit.rlim_max.min(ENOUGH)),
        _ => Wanted::More,
    }
}

fn too_few(limit: u64) -> Problem {
    Problem::failed(format!(
        "this process may open only {limit} files, and plugins need at least {LEAST}"
    ))
    .help(format!(
        "raise the limit: `ulimit -n {ENOUGH}`, LimitNOFILE={ENOUGH} in a systemd unit, `--ulimit nofile={ENOUGH}` for a container"
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
        assert_eq!(wanted(limit(1_024, 4_096)), Wanted::Nothing);
        assert_eq!(wanted(limit(128, 128)), Wanted::Nothing);
        assert_eq!(wanted(limit(32, 4_096)), Wanted::Raise(1_024));
        assert_eq!(wanted(limit(32, 200)), Wanted::Raise(200));
        assert_eq!(wanted(limit(32, 32)), Wanted::More);
    }
}
