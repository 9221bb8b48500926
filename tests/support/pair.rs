//! A primary and its streaming standby, on sockets of this machine.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use pgtq_setup::postgres::{Options, PrivatePostgres};
use tempfile::TempDir;

use crate::{Sql, cli, wait_until};

/// Two servers. Both end with this value, and their data.
#[derive(Debug)]
pub struct Pair {
    primary: Option<PrivatePostgres>,
    standby: PrivatePostgres,
    url: String,
    _dirs: [TempDir; 2],
}

impl Pair {
    /// Starts both, the schema migrated, the standby streaming. Blocks for seconds.
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

    /// The address of whichever takes writes.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection to the primary.
    pub fn primary(&self) -> Sql {
        let primary = self.primary.as_ref().expect("it is not lost yet");
        Sql::connect(&primary.url())
    }

    /// A connection to the standby.
    pub fn standby(&self) -> Sql {
        Sql::connect(&self.standby.url())
    }

    /// From now on a commit is acknowledged when the standby has it, too.
    pub fn be_synchronous(&self) {
        let sql = self.primary();
        sql.rows("ALTER SYSTEM SET synchronous_standby_names = '*'");
        sql.rows("SELECT pg_reload_conf()");
        wait_until("the standby is a synchronous one", || {
            sql.rows("SELECT sync_state FROM pg_stat_replication") == ["sync"]
        });
    }

    /// The standby gets nothing any more, and the primary does not care.
    pub fn cut_stream(&self) {
        let sql = self.standby();
        sql.rows("ALTER SYSTEM SET primary_conninfo = ''");
        sql.rows("SELECT pg_reload_conf()");
        wait_until("the standby gets nothing any more", || {
            sql.number("SELECT count(*) FROM pg_stat_wal_receiver") == 0
        });
    }

    /// The primary dies, as by `kill -9` of all of it.
    pub fn lose_primary(&mut self) {
        let primary = self.primary.take().expect("it is lost once");
        let pid = primary.pid().expect("this process started it");
        let pid = i32::try_from(pid).expect("process ids are small");
        // SAFETY: kill takes two numbers, and `primary` has not been waited for.
        unsafe { libc::kill(pid, libc::SIGQUIT) };
        drop(primary);
    }

    /// The standby becomes a primary.
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
        .expect("a temporary directory is made")
}

fn keep(dir: &Path) -> PrivatePostgres {
    let options = Options {
        // Servers die here, and the machine does not: what was written stays.
        durable: false,
        settings: vec![("synchronous_commit".to_owned(), "on".to_owned())],
        ..Options::keep(dir)
    };
    PrivatePostgres::start(&options, &|line| eprintln!("{line}"))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A base backup of `primary` in `dir`, ready to be its standby. By the functions of the
/// server, because servers from npm come without `pg_basebackup`; as the account that owns
/// the primary, because Postgres does not run as root.
fn copy(primary: &PrivatePostgres, dir: &Path) {
    let owner = primary.dir().metadata().expect("it is there");
    chown(dir, Some(owner.uid()), Some(owner.gid())).expect("this is ours to give");
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
        // Temporary files may vanish meanwhile. The log is streamed from the start of the backup.
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
    chown(&file, Some(owner.uid()), Some(owner.gid())).expect("this is ours to give");
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
    // SAFETY: geteuid reads a number of this process and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
