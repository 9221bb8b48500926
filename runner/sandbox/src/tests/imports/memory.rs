//! Every import again, called until the guest is stopped or a thousand handles are open,
//! in `run`, in `describe` and in a start function: how much the process grows.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::guest::guest;
use super::sequences;
use super::shape::{Place, Shape, Size};
use super::world::{Import, World};
use crate::config::SandboxConfig;
use crate::run::sandbox::Sandbox;
use crate::tests::guests::{attempt, handler, load, sandbox, small};

const CHILD: &str = "PGTQ_IMPORTS_MEMORY_CHILD";
/// Calls of one guest: more than it may have handles.
const CALLS: u64 = 1_200;
const MIB: u64 = 1 << 20;
/// Imports that are also called in `describe` and in a start function.
const HOARDS: [&str; 9] = [
    "[constructor]fields",
    "[static]fields.from-list",
    "[method]fields.append",
    "[method]outgoing-request.set-authority",
    "[method]outgoing-request.body",
    "get-random-bytes",
    "subscribe-duration",
    "write",
    "push",
];
/// The stack, the store, handles, and the allocator's rounding.
const BESIDE: u64 = 4 * MIB;

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.expect("a number").parse::<u64>().expect("a number") << 10
}

/// The peak growth of the process during this operation.
async fn growth<T>(work: impl Future<Output = T>) -> (u64, T) {
    // SAFETY: returns free memory to the system; nothing else is changed.
    unsafe { libc::malloc_trim(0) };
    // Resets the peak to the current resident size.
    fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let before = status("VmRSS:");
    let done = work.await;
    (status("VmHWM:").saturating_sub(before), done)
}

fn judge(sandbox: &Sandbox, import: &Import<'_>, shape: Shape, grown: u64, counted: u64) {
    let linear = if shape.small { 30 } else { 400 } * (64 << 10);
    let host = sandbox.config().defaults.host_bytes;
    let name = import.name();
    println!(
        "{:>6} KiB grown, {:>6} KiB counted: {shape:?} {name}",
        grown >> 10,
        counted >> 10
    );
    assert!(
        grown <= linear + host + BESIDE,
        "{name} {shape:?}: the process grew by {} KiB",
        grown >> 10
    );
}

/// Calls each import of a guest in separate attempts.
async fn in_run(sandbox: &Sandbox, world: &World, imports: &[&Import<'_>], shape: Shape) {
    let guest = guest(world, imports, shape);
    let handler = handler(sandbox, &guest.file).await;
    // Allocations of the first attempt of a process or plugin stay for all later ones.
    handler.call(attempt("9999")).await;
    for (n, import) in imports.iter().enumerate() {
        let (grown, report) = growth(handler.call(attempt(&n.to_string()))).await;
        judge(
            sandbox,
            import,
            shape,
            grown,
            report.record.usage.peak_memory,
        );
    }
}

/// Calls one import while the plugin is probed.
async fn in_probe(sandbox: &Sandbox, world: &World, import: &Import<'_>, shape: Shape) {
    let guest = guest(world, &[import], shape);
    let compiled = load(sandbox, &guest.file).await.expect("valid");
    let (grown, _) = growth(compiled.probe()).await;
    judge(sandbox, import, shape, grown, 0);
}

#[test]
fn no_import_makes_the_process_grow_beyond_the_limits() {
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "tests::imports::memory::imports_in_turns",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD, "1")
        // One arena: memory freed by an earlier guest's thread is reused.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .expect("a child");
    let said = String::from_utf8_lossy(&child.stdout);
    let mut lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("counted"))
        .collect();
    lines.sort_by_key(|line| {
        let kib = line
            .split_whitespace()
            .next()
            .and_then(|kib| kib.parse::<u64>().ok());
        std::cmp::Reverse(kib)
    });
    for line in lines.iter().take(12) {
        println!("{line}");
    }
    assert!(
        child.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&child.stderr)
    );
    assert!(lines.len() > 500, "{} trials", lines.len());
}

#[tokio::test]
#[ignore = "run by the test above, alone in its process"]
async fn imports_in_turns() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let world = World::new();
    for limit in [2 * MIB, 64 * MIB] {
        let mut config = SandboxConfig {
            slots: 1,
            ..small()
        };
        config.defaults.memory = limit;
        config.defaults.timeout = Duration::from_millis(500);
        let sandbox = sandbox(config);
        let imports = world.imports();
        let all: Vec<&Import<'_>> = imports.iter().collect();
        for name in ["trailers", "churn", "options", "word"] {
            let guest = sequences::file(name, &world.resolve, world.world);
            let handler = handler(&sandbox, &guest).await;
            let (grown, report) = growth(handler.call(attempt("[]"))).await;
            let host = sandbox.config().defaults.host_bytes;
            let counted = report.record.usage.peak_memory;
            println!(
                "{:>6} KiB grown, {:>6} KiB counted: {name}",
                grown >> 10,
                counted >> 10
            );
            // Options are long: that guest has 9 MiB.
            let most = limit.min(9 * MIB) + host + BESIDE;
            assert!(
                grown <= most,
                "{name}: the process grew by {} KiB",
                grown >> 10
            );
        }
        for size in Size::ALL {
            let shape = |place| Shape {
                size,
                place,
                calls: CALLS,
                small: limit == 2 * MIB,
            };
            in_run(&sandbox, &world, &all, shape(Place::Run)).await;
            // Only the limits differ there: the imports that keep most are enough.
            for import in imports
                .iter()
                .filter(|import| HOARDS.contains(&&*import.function.name))
            {
                in_probe(&sandbox, &world, import, shape(Place::Describe)).await;
                in_probe(&sandbox, &world, import, shape(Place::Start)).await;
            }
        }
    }
}
