//! A bad deploy: an incomplete file is rejected and the previous version stays live.

use std::time::Duration;

use serde_json::Value;

use super::guide::Guide;
use super::stage::DemoEnvironment;
use crate::error::Problem;
use crate::machine;
use pgtq_engine::plugin::PluginState;
use pgtq_task::{Name, NewTask};

/// Time limit of the rejection. A file settles within two seconds; its inspection takes
/// milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

/// The outcome of the bad deploy.
pub(crate) struct Broken {
    pub(crate) reason: String,
    /// The version that is live afterwards.
    pub(crate) serving: String,
}

/// Overwrites `hello` with its first half and waits until the runner rejects it.
pub(crate) async fn run(guide: Guide<'_>, stage: &DemoEnvironment) -> Result<Broken, Problem> {
    let file = "hello.wasm";
    guide
        .begin("bad deploy: hello.wasm is overwritten with the first half of the file")
        .await?;
    let good = machine::read(&stage.next_hello)?;
    std::fs::write(stage.plugins.join(file), &good[..good.len() / 2])?;
    let reason = tokio::time::timeout(LIMIT, refused(stage, file))
        .await
        .map_err(|_| Problem::failed("the incomplete file was not rejected within a minute"))?;
    let task = NewTask::new(Name::new("greet")?, "{\"name\":\"still here\"}");
    let answer = stage.result_of(task).await?.task.result.unwrap_or_default();
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let version = answer
        .get("version")
        .and_then(Value::as_str)
        .unwrap_or("unknown");
    guide
        .done(format!("rejected; version {version} stays live"), &reason)
        .await?;
    // Restored, so that the plugin works if the demo keeps running.
    std::fs::write(stage.plugins.join(file), &good)?;
    Ok(Broken {
        reason,
        serving: version.to_owned(),
    })
}

/// Waits until the file is rejected and returns the reason.
async fn refused(stage: &DemoEnvironment, file: &str) -> String {
    let mut changes = stage.runner.registry.watch();
    loop {
        let snapshot = stage.runner.registry.snapshot();
        let status = snapshot.plugin(file);
        if let Some(status) = status.filter(|status| status.state == PluginState::Refused) {
            return status.reason.clone().unwrap_or_default();
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
