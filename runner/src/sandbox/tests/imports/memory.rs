//! Every import again, called until the guest is stopped or a thousand handles are
//! open, in `run`, in `describe` and in a start function: how much the process grows.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::guest::{Place, Shape, Size, guest};
use super::world::{Import, World};
use crate::sandbox::tests::guests::{attempt, load, sandbox, small};
use crate::sandbox::{Sandbox, SandboxConfig};

const CHILD: &str = "PGTQ_IMPORTS_MEMORY_CHILD";
/// Calls of one guest: more than it can have handles.
const CALLS: u64 = 1_200;
const MIB: u64 = 1 << 20;
/// The stack, the store, handles, and what the allocator rounds up.
const BESIDE: u64 = 4 * MIB;

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.expect("a number").parse::<u64>().expect("a number") << 10
}

/// By how much the process grows at most while a guest is loaded, probed and run.
async fn growth(sandbox: &Sandbox, file: &[u8]) -> Option<(u64, u64)> {
    let compiled = load(sandbox, file).await.ok()?;
    // Sets the peak to what is resident now.
    fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let before = status("VmRSS:");
    let peak = match compiled.probe().await {
        Ok(manifest) => {
            let handler = compiled.handlers(&manifest, "guest").remove(0);
            handler.call(attempt("[]")).await.usage.peak_memory
        }
        Err(_) => 0,
    };
    Some((status("VmHWM:").saturating_sub(before), peak))
}

async fn trial(sandbox: &Sandbox, world: &World, import: &Import<'_>, shape: Shape, limit: u64) {
    let (file, _) = guest(world, import, shape);
    let Some((grown, peak)) = growth(sandbox, &file).await else {
        return;
    };
    let name = &import.function.name;
    let host = sandbox.config().defaults.host_bytes;
    println!(
        "{:>6} KiB {:>6} KiB counted {shape:?} {} {name}",
        grown >> 10,
        peak >> 10,
        import.interface
    );
    assert!(
        grown <= limit + host + BESIDE,
        "{} {name} {shape:?}: the process grew by {} KiB",
        import.interface,
        grown >> 10
    );
}

#[test]
fn no_import_makes_the_process_grow_beyond_the_limits() {
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "sandbox::tests::imports::memory::imports_in_turns",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD, "1")
        // One arena: what an earlier guest's thread has freed is used again.
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
        // The first attempt of a process also loads what all later ones use.
        let imports = world.imports();
        let modest = Shape {
            size: Size::Modest,
            place: Place::Run,
            calls: 1,
            small: true,
        };
        let _ = growth(&sandbox, &guest(&world, &imports[0], modest).0).await;
        for import in &imports {
            for place in [Place::Run, Place::Describe, Place::Start] {
                for size in Size::ALL {
                    let shape = Shape {
                        size,
                        place,
                        calls: CALLS,
                        small: limit == 2 * MIB,
                    };
                    trial(&sandbox, &world, import, shape, limit).await;
                }
            }
        }
    }
}
