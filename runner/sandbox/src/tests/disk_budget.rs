//! Files: what one attempt may write is limited.

use std::fs;

use serde_json::json;

use super::disk::dir;
use super::reach::{Scene, directories};
use pgtq_task::Limits;

#[tokio::test]
async fn writing_more_than_the_budget_is_an_error_value() {
    const BUDGET: u64 = 100_000;
    // The C library of Rust's guests knows one error for streams: EIO.
    const STREAM: &str = "Uncategorized: I/O error (os error 29)";
    const CALL: &str = "StorageFull: No space left on device";
    let long = "x".repeat(200_000);
    for (step, most, error) in [
        (json!({"fill": ["/out/f", 200_000]}), BUDGET, STREAM),
        (json!({"append": ["/out/f", long]}), BUDGET, STREAM),
        // The gap counts: it exists like written bytes.
        (json!({"write_at": ["/out/f", 200_000]}), 0, CALL),
        (json!({"set_len": ["/out/f", 200_000]}), 0, CALL),
    ] {
        let out = dir();
        let scene = Scene {
            needs: json!({"files": ["/out"]}),
            grant: directories(&[("/out", out.path(), true)]),
            limits: Limits {
                file_bytes: BUDGET,
                ..Limits::default()
            },
            ..Scene::default()
        };
        let (answers, logs) = scene.run(json!([step, step])).await;
        for answer in &answers {
            assert!(answer.starts_with(error), "{step}: {answers:?}");
        }
        assert_eq!(logs.len(), 1, "{logs:?}");
        assert!(logs[0].contains("raise `limits.file_bytes`"), "{logs:?}");
        let size = fs::metadata(out.path().join("f")).expect("a file").len();
        assert!(size <= most, "{step}: {size} bytes");
    }
}

#[tokio::test]
async fn the_whole_budget_is_usable_and_new_names_count() {
    let out = dir();
    let scene = Scene {
        needs: json!({"files": ["/out"]}),
        grant: directories(&[("/out", out.path(), true)]),
        limits: Limits {
            file_bytes: 4_096 + 10_000,
            ..Limits::default()
        },
        ..Scene::default()
    };
    let (answers, logs) = scene.run(json!([{"fill": ["/out/f", 10_000]}])).await;
    assert_eq!(answers, ["done"]);
    assert!(logs.is_empty(), "{logs:?}");

    let out = dir();
    let scene = Scene {
        needs: json!({"files": ["/out"]}),
        grant: directories(&[("/out", out.path(), true)]),
        limits: Limits {
            file_bytes: 10 * 4_096,
            ..Limits::default()
        },
        ..Scene::default()
    };
    let steps = json!([{"litter": ["/out", 1_000]}, {"make_dir": "/out/sub"}]);
    let (answers, _) = scene.run(steps).await;
    assert!(
        answers[0].starts_with("10, then StorageFull"),
        "{answers:?}"
    );
    assert!(answers[1].starts_with("StorageFull"), "{answers:?}");
}
