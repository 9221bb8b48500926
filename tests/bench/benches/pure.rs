//! Micro-benchmarks of pure functions: the cost of a task before and after its guest.
//!
//! ```text
//! cargo bench -p pgtq-bench --bench pure
//! ```
//!
//! Prints the median of several rounds, in nanoseconds per call. Without `--bench`
//! (`cargo test -p pgtq-bench --bench pure`) it calls each function once.

use std::hint::black_box;
use std::time::{Duration, Instant};

use pgtq_task::{
    ErrorKind, Failure, Manifest, Name, NewTask, Outcome, RetryPolicy, Task, TaskId, decide,
};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(50);

fn main() {
    // `cargo bench` passes `--bench`.
    let measured = std::env::args().any(|word| word == "--bench");
    let bench = Bench { measured };

    let policy = RetryPolicy::default();
    let task = task();
    bench.run("decide, complete", || {
        let outcome = Outcome::Complete {
            result: "5".to_owned(),
        };
        decide(&task, &policy, outcome, false, 0.5)
    });
    bench.run("decide, retry", || {
        let outcome = Outcome::Retry {
            failure: Failure::new(ErrorKind::Error, "not now"),
            after: None,
        };
        decide(&task, &policy, outcome, false, 0.5)
    });
    bench.run("a name, checked", || Name::new("add_numbers"));
    bench.run("a new task", || {
        Name::new("add_numbers").map(|name| NewTask::new(name, r#"{"a":2,"b":3}"#))
    });
    let text = manifest(20);
    bench.run("a manifest of 20 handlers, read", || {
        serde_json::from_str::<Manifest>(&text).expect("it is legal")
    });
}

struct Bench {
    measured: bool,
}

impl Bench {
    fn run<T>(&self, name: &str, call: impl Fn() -> T) {
        black_box(call());
        if !self.measured {
            println!("{name}: ok");
            return;
        }
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(&call)).collect();
        rounds.sort_by(f64::total_cmp);
        let (low, middle, high) = (rounds[0], rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
        println!("{name:<36} {middle:>10.1} ns  ({low:.1} to {high:.1})");
    }
}

/// The duration of one call, in nanoseconds.
fn round<T>(call: &impl Fn() -> T) -> f64 {
    let started = Instant::now();
    let mut n = 0_u32;
    while started.elapsed() < ROUND {
        for _ in 0..100 {
            black_box(call());
        }
        n += 100;
    }
    started.elapsed().as_nanos() as f64 / f64::from(n)
}

fn task() -> Task {
    Task {
        id: TaskId(1),
        queue: Name::default_queue(),
        handler: Name::default_queue(),
        priority: 0,
        args: "{}".into(),
        attempts: 1,
        crashes: 0,
        retries: None,
        pushed_at: jiff::Timestamp::UNIX_EPOCH,
        due_at: jiff::Timestamp::UNIX_EPOCH,
        key: None,
        parent: None,
        traits: None,
    }
}

fn manifest(handlers: usize) -> String {
    let handlers: Vec<String> = (0..handlers)
        .map(|i| format!(r#"{{"name": "handler_{i}", "retry": {{"retries": 3}}}}"#))
        .collect();
    format!(
        r#"{{"contract": "1.0.0", "plugin": {{"name": "many", "version": "1.0.0"}}, "handlers": [{}]}}"#,
        handlers.join(",")
    )
}
