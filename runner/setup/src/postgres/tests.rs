//! Tests that start and stop a real server.

use super::*;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn start(options: &ServerOptions) -> PrivatePostgres {
    PrivatePostgres::start(options, &|line| eprintln!("{line}")).unwrap()
}

fn is_ready(server: &PrivatePostgres, database: &str) -> bool {
    client::is_ready(server.dir(), database, Duration::from_secs(5))
}

#[test]
fn an_ephemeral_server_works_and_its_directory_is_removed() {
    let server = start(&ServerOptions::ephemeral());
    assert!(is_ready(&server, "pgtq"));

    let url = server.create_database("first", None).unwrap();
    assert_eq!(url, server.url_of("first"));
    let host = server.dir().display();
    assert_eq!(url, format!("postgresql:///first?host={host}&user=pgtq"));

    server.create_database("copy", Some("first")).unwrap();
    server
        .create_database("copy", Some("first"))
        .expect("an existing database is not an error");
    assert!(is_ready(&server, "copy"));
    server.drop_database("copy").unwrap();
    assert!(!is_ready(&server, "copy"));
    let error = server.create_database("x", Some("missing")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");

    let dir = server.dir().to_owned();
    server.stop().unwrap();
    assert!(!dir.exists());
}

#[test]
fn kept_data_persists_and_a_running_server_is_shared() {
    let parent = tempfile::Builder::new()
        .prefix("pgtq-kept-")
        .tempdir_in("/tmp")
        .unwrap();
    // The server runs as another user when the tests run as root.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(parent.path(), mode).unwrap();
    let mut options = ServerOptions::keep(parent.path().join("kept"));
    options.durable = false;

    let first = start(&options);
    first.create_database("mine", None).unwrap();
    let second = start(&options);
    assert_eq!(second.pid(), None, "the running server is used");
    assert_eq!(second.url(), first.url());
    drop(second);
    assert!(
        is_ready(&first, "mine"),
        "dropping the second does not stop it"
    );
    first.stop().unwrap();

    let third = start(&options);
    assert!(is_ready(&third, "mine"));
}

#[test]
fn a_failed_start_shows_the_servers_output() {
    let mut options = ServerOptions::ephemeral();
    options.settings = vec![("shared_buffers".to_owned(), "many".to_owned())];
    let error = PrivatePostgres::start(&options, &|_| ()).unwrap_err();
    assert!(error.to_string().contains("shared_buffers"), "{error}");
}

/// The owner process that the next test kills. Prints the directory of its server and
/// waits for the end of its input.
#[test]
#[ignore = "run by another test"]
fn owner_to_be_killed() {
    let server = start(&ServerOptions::ephemeral());
    println!("dir={}", server.dir().display());
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn killing_the_owner_stops_the_server_and_removes_its_directory() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("postgres::tests::owner_to_be_killed")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let dir = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("dir=").map(|(_, dir)| PathBuf::from(dir)));
    let dir = dir.expect("the owner prints its directory");
    assert!(client::is_ready(&dir, "pgtq", Duration::from_secs(5)));

    owner.kill().unwrap();
    owner.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while dir.exists() {
        assert!(Instant::now() < deadline, "{} still exists", dir.display());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
