//! The system account of a private server.
//!
//! Postgres does not run as root. If the current user is root, the programs run as
//! `postgres` or, without such an account, as `nobody`. `initdb` requires the account to
//! be in the passwd file.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The system account of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerAccount {
    /// The account of this process.
    Own,
    /// Another account, because this process runs as root.
    Other { uid: u32, gid: u32 },
}

impl ServerAccount {
    /// Chooses the account. Fails for root if neither account exists.
    pub(super) fn choose() -> Result<Self, String> {
        if effective_uid() != 0 {
            return Ok(ServerAccount::Own);
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| entry(&passwd, name))
            .map(|(uid, gid)| ServerAccount::Other { uid, gid })
            .ok_or_else(|| {
                "postgres does not run as root, and there is no account `postgres` or `nobody`"
                    .to_owned()
            })
    }

    /// A command that runs as this account, in a directory that it can access.
    pub(super) fn command(self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir);
        if let ServerAccount::Other { uid, gid } = self {
            // As root, std also drops the supplementary groups.
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Makes this account the owner of `dir` and removes access for others.
    pub(super) fn give(self, dir: &Path) -> std::io::Result<()> {
        if let ServerAccount::Other { uid, gid } = self {
            chown(dir, Some(uid), Some(gid))?;
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
    }

    /// The topmost ancestor of `dir` that this account cannot traverse.
    pub(super) fn blocked_by(self, dir: &Path) -> Option<PathBuf> {
        let ServerAccount::Other { uid, gid } = self else {
            return None;
        };
        let parents: Vec<&Path> = dir.ancestors().skip(1).collect();
        let blocked = parents.into_iter().rev().find(|parent| {
            let Ok(meta) = parent.metadata() else {
                return false;
            };
            let bit = if meta.uid() == uid {
                0o100
            } else if meta.gid() == gid {
                0o010
            } else {
                0o001
            };
            meta.mode() & bit == 0
        });
        blocked.map(Path::to_owned)
    }
}

pub(crate) fn effective_uid() -> u32 {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// The user and group ids of `name` in the text of a passwd file.
fn entry(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passwd_entry_has_user_and_group() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n";
        assert_eq!(entry(passwd, "nobody"), Some((65534, 65533)));
        assert_eq!(entry(passwd, "postgres"), None);
    }

    #[test]
    fn a_private_parent_blocks_another_account() {
        let parent = tempfile::tempdir().unwrap();
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let dir = parent.path().join("data");
        let other = ServerAccount::Other { uid: 1, gid: 1 };
        assert_eq!(other.blocked_by(&dir).as_deref(), Some(parent.path()));
        assert_eq!(ServerAccount::Own.blocked_by(&dir), None);
    }
}
