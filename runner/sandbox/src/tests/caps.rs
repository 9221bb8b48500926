//! A handler's requested limits are capped to what its plugin may have at that moment.

use std::time::Duration;

use serde_json::json;

use super::guests::{attempt, failure};
use super::reach::{Reach, Scene};
use pgtq_task::{Grant, LimitRequest, Limits, toml_limits};

/// A handler that requests an hour, and gigabytes, where four times the defaults are
/// little.
async fn greedy() -> Reach {
    let limits = Limits {
        timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let scene = Scene {
        asked: LimitRequest {
            timeout_ms: Some(3_600_000),
            memory: Some(2 << 30),
            fuel: None,
        },
        cap: Some(limits.cap()),
        limits,
        ..Scene::default()
    };
    scene.set().await
}

fn granted(limits: LimitRequest) -> Grant {
    Grant {
        limits,
        ..Grant::default()
    }
}

/// How the endless work of an attempt ends: the limit that the failure names.
async fn endless(reach: &Reach) -> String {
    let steps = json!([{"save_many": 4_000_000_000_u32}]);
    let report = reach.call(attempt(&steps.to_string())).await;
    failure(&report).message.clone()
}

#[tokio::test]
async fn a_handler_gets_four_times_the_defaults_unless_more_is_granted() {
    let reach = greedy().await;
    let cut = reach.cut();
    assert_eq!(
        toml_limits(&cut.asked),
        ["timeout = \"1h\"", "memory = \"2GiB\""]
    );
    let message = endless(&reach).await;
    assert!(message.contains("200ms"), "{message}");
    // In force with the next attempt, whatever the sandbox was created with.
    let wider = LimitRequest {
        timeout_ms: Some(300),
        ..cut.asked
    };
    reach.change_grant(granted(wider));
    assert_eq!(toml_limits(&reach.cut().asked), ["timeout = \"1h\""]);
    let message = endless(&reach).await;
    assert!(message.contains("300ms"), "{message}");
    reach.change_grant(Grant::default());
    assert_eq!(reach.cut(), cut);
}

#[tokio::test]
async fn a_grant_below_the_defaults_is_enforced() {
    let reach = greedy().await;
    reach.change_grant(granted(LimitRequest {
        timeout_ms: Some(20),
        ..LimitRequest::default()
    }));
    let message = endless(&reach).await;
    assert!(message.contains("20ms"), "{message}");
}
