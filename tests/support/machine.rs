//! Properties of a machine: a wrong clock, a terminal.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// The environment of a process whose wall clock is off by `seconds`. Needs a C
/// compiler.
pub fn wrong_clock(seconds: i64) -> [(String, String); 2] {
    static BUILT: OnceLock<TempDir> = OnceLock::new();
    let dir = BUILT.get_or_init(|| {
        let dir = tempfile::Builder::new()
            .prefix("pgtq-clock-")
            .tempdir()
            .expect("a temporary directory is created");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/skew.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(dir.path().join("skew.so"))
            .arg(source)
            .arg("-ldl")
            .output()
            .expect("there is a C compiler");
        let errors = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{errors}");
        dir
    });
    let library = dir.path().join("skew.so").display().to_string();
    [
        ("LD_PRELOAD".to_owned(), library),
        ("TEST_SKEW_SECONDS".to_owned(), seconds.to_string()),
    ]
}

/// The output of `command` on a terminal. Blocks until it exits.
pub fn on_terminal(mut command: Command) -> String {
    let (mut master, mut slave) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: openpty writes two integers; the other arguments may be null.
    let opened = unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            none,
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    assert_eq!(opened, 0, "a terminal is opened");
    // SAFETY: both descriptors are open and have no other owner.
    let (mut master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(slave)
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    // Closes this process's copy of the slave, so that reading ends with the child.
    drop(command);
    let mut output = Vec::new();
    // The end of a terminal is an error.
    let _ = master.read_to_end(&mut output);
    child.wait().expect("the command exits");
    String::from_utf8_lossy(&output).into_owned()
}
