use std::thread;

use super::guests::{attempt, guest, load, sandbox, small};
use crate::config::SandboxConfig;
use pgtq_task::Outcome;

#[tokio::test]
async fn busy_threads_get_equivalent_copies_of_a_plugin() {
    let sandbox = sandbox(SandboxConfig {
        slots: 2,
        ..small()
    });
    let compiled = load(&sandbox, &guest("count")).await.expect("a plugin");
    let manifest = compiled.probe().await.expect("a manifest");
    let count = compiled.handlers(&manifest, "count").remove(0);
    let copies = &compiled.inner.plugin;
    let n_before = copies.n_made();
    assert_eq!(n_before, 0, "an idle plugin has none");
    // Threads are numbered one after the other, so that some come to each copy.
    for _ in 0..100 {
        let count = count.clone();
        let busy = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                for _ in 0..600 {
                    let outcome = count.call(attempt("[]")).await.outcome;
                    let fresh = Outcome::Complete {
                        result: "1".to_owned(),
                    };
                    assert_eq!(outcome, fresh);
                }
            });
        };
        let thread = thread::spawn(busy);
        tokio::task::spawn_blocking(|| thread.join().expect("no panic"))
            .await
            .expect("joined");
        if copies.n_made() == copies.n_possible() {
            break;
        }
    }
    assert_eq!(copies.n_made(), copies.n_possible());
    assert_eq!(sandbox.live_instances(), Some(0));
}
