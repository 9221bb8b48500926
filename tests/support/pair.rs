//! A primary and a streaming standby, on local sockets.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use pgtq_setup::postgres::{PrivatePostgres, ServerOptions};
use tempfile::TempDir;

use crate::{Sql, cli, wait_until};

/// Two servers. Dropping this stops both and removes their data.
#[derive(Debug)]
pub struct Pair {
    primary: Option<PrivatePostgres>,
    standby: PrivatePostgres,
    url: String,
    _dirs: [TempDir; 2],
}

impl Pair {
    /// Starts both servers, with the schema migrated and the standby streaming. Blocks
    /// for seconds.
    pub fn start() -> Self {
        let dirs = [directory(), directory()];
        let primary = keep(dirs[0].path());
        let url = primary.url();
        cli(&url, &["migrate"], "").success();
        copy(&primary, dirs[1].path());
        let standby = keep(dirs[1].path());
        let hosts = format!("{},{}", primary.dir().display(), standby.dir().display());
        let pair = Pair {
            url: format!(
                "postgresql:///pgtq?host={hosts}&user=pgtq&target_session_attrs=read-write"
            ),
            primary: Some(primary),
            standby,
            _dirs: dirs,
        };
        pair.wait_for_stream();
        pair
    }

    /// The URL of the server that accepts writes.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection to the primary.
    pub fn primary(&self) -> Sql {
        let primary = self.primary.as_ref().expect("the primary runs");
        Sql::connect(&primary.url())
    }

    /// A connection to the standby.
    pub fn standby(&self) -> Sql {
        Sql::connect(&self.standby.url())
    }

    /// Makes replication synchronous: a commit waits for the standby.
    pub fn make_synchronous(&self) {
        let sql = self.primary();
        sql.rows("ALTER SYSTEM SET synchronous_standby_names = '*'");
        sql.rows("SELECT pg_reload_conf()");
        wait_until("replication is synchronous", || {
            sql.rows("SELECT sync_state FROM pg_stat_replication") == ["sync"]
        });
    }

    /// Stops replication. The primary continues.
    pub fn stop_replication(&self) {
        let sql = self.standby();
        sql.rows("ALTER SYSTEM SET primary_conninfo = ''");
        sql.rows("SELECT pg_reload_conf()");
        wait_until("replication has stopped", || {
            sql.number("SELECT count(*) FROM pg_stat_wal_receiver") == 0
        });
    }

    /// Kills the primary, as `kill -9` of all its processes would.
    pub fn kill_primary(&mut self) {
        let primary = self.primary.take().expect("the primary runs");
        let pid = primary.pid().expect("this process started the primary");
        let pid = i32::try_from(pid).expect("process ids fit");
        // SAFETY: kill takes two integers, and the process is not reaped yet.
        unsafe { libc::kill(pid, libc::SIGQUIT) };
        drop(primary);
    }

    /// Promotes the standby.
    pub fn promote(&self) {
        let promoted = self.standby().row("SELECT pg_promote(true, 60)");
        assert_eq!(promoted, "t");
    }

    fn wait_for_stream(&self) {
        let sql = self.primary();
        wait_until("the standby streams", || {
            sql.rows("SELECT state FROM pg_stat_replication") == ["streaming"]
        });
    }
}

fn directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("pgtq-pair-")
        .tempdir()
        .expect("a temporary directory is created")
}

fn keep(dir: &Path) -> PrivatePostgres {
    let options = ServerOptions {
        // Only servers crash here, not the machine, so writes survive without fsync.
        durable: false,
        settings: vec![("synchronous_commit".to_owned(), "on".to_owned())],
        ..ServerOptions::keep(dir)
    };
    PrivatePostgres::start(&options, &|line| eprintln!("{line}"))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Makes a base backup of `primary` in `dir`, configured as its standby. Uses the server's
/// backup functions, because servers from npm have no `pg_basebackup`, and the account
/// of the primary, because Postgres does not run as root.
fn copy(primary: &PrivatePostgres, dir: &Path) {
    let owner = primary.dir().metadata().expect("the directory exists");
    chown(dir, Some(owner.uid()), Some(owner.gid())).expect("the owner can be changed");
    let sql = Sql::connect(&primary.url());
    let is_old = sql.number("SELECT current_setting('server_version_num')") < 150_000;
    let (start, stop) = match is_old {
        true => (
            "SELECT pg_start_backup('standby', true, false)",
            "SELECT labelfile FROM pg_stop_backup(false, false)",
        ),
        false => (
            "SELECT pg_backup_start('standby', true)",
            "SELECT labelfile FROM pg_backup_stop(false)",
        ),
    };
    sql.rows(start);
    let data = dir.join("data");
    let mut command = Command::new("sh");
    command
        // Temporary files may disappear during the copy. WAL is streamed from the start
        // of the backup.
        .args([
            "-c",
            r#"cp -a "$1" "$2" || true; cd "$2" && rm -rf postmaster.* pg_wal/0* pg_replslot/* && touch standby.signal"#,
            "copy",
        ])
        .arg(primary.dir().join("data"))
        .arg(&data)
        .current_dir(dir);
    if running_as_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    let output = command.output().expect("a shell runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let label = sql.row(stop);
    let file = data.join("backup_label");
    std::fs::write(&file, label).expect("a label is written");
    chown(&file, Some(owner.uid()), Some(owner.gid())).expect("the owner can be changed");
    let from = format!(
        "primary_conninfo = 'host={} user=pgtq'\n",
        primary.dir().display()
    );
    let mut settings = std::fs::OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.auto.conf"))
        .expect("the settings were copied");
    settings
        .write_all(from.as_bytes())
        .expect("settings are written");
}

fn running_as_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
