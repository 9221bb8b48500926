//! What a machine may be like: with a wrong clock, with a terminal.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// The environment of a process whose wall clock is off by this many seconds. Built
/// with the C compiler that also links this crate.
pub fn wrong_clock(seconds: i64) -> [(String, String); 2] {
    static BUILT: OnceLock<TempDir> = OnceLock::new();
    let dir = BUILT.get_or_init(|| {
        let dir = tempfile::Builder::new()
            .prefix("pgtq-clock-")
            .tempdir()
            .expect("a temporary directory is made");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/skew.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(dir.path().join("skew.so"))
            .arg(source)
            .arg("-ldl")
            .output()
            .expect("there is a C compiler");
        let words = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{words}");
        dir
    });
    let library = dir.path().join("skew.so").display().to_string();
    [
        ("LD_PRELOAD".to_owned(), library),
        ("TEST_SKEW_SECONDS".to_owned(), seconds.to_string()),
    ]
}

/// What `command` writes to a terminal. Blocks until it has ended.
pub fn on_terminal(mut command: Command) -> String {
    let (mut ours, mut theirs) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: it writes two numbers, which are ours, and takes nulls for the rest.
    let opened = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            none,
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    assert_eq!(opened, 0, "there is a terminal");
    // SAFETY: both were opened a moment ago and have no other owner.
    let (mut ours, theirs) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(theirs)
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    // With it our copy of their side: then the last reader's end is theirs.
    drop(command);
    let mut said = Vec::new();
    // The end of a terminal is an error.
    let _ = ours.read_to_end(&mut said);
    child.wait().expect("it ends");
    String::from_utf8_lossy(&said).into_owned()
}
