//! Starts the steps of files and handles their results.

use std::sync::Arc;

use tokio::task::{Id, JoinError};
use tokio::time::Instant;

use super::{Keeper, StepResult, StepTask};
use crate::plugin::load::InspectOutcome;
use crate::plugin::load_request::{LoadRequest, PlannedLoad};
use crate::plugin::load_schedule::NextStep;
use crate::plugin::rejected::{PluginRejected, RetryWhen};
use crate::plugin::status::PluginState;

impl Keeper {
    /// Starts whatever the schedule allows.
    pub(super) fn start_steps(&mut self) {
        // At the start all files are ready before the first is read, so that handler
        // names are assigned in file name order.
        self.gathering = self.gathering && self.tracker.is_settling();
        if self.gathering {
            return;
        }
        self.retry_beyond_limit();
        while let Some(step) = self.schedule.next(Instant::now()) {
            let loader = Arc::clone(&self.loader);
            let (request, task) = match step {
                NextStep::Inspect(request) => {
                    let missing = self.tracker.missing().cloned().collect();
                    let inspect = loader.inspect(request.clone(), missing);
                    let task = async move { StepResult::Inspect(inspect.await) };
                    (request, self.tasks.spawn(task))
                }
                NextStep::Load(PlannedLoad { request, inspected }) => {
                    let load = loader.load(request.ready.clone(), inspected.digest);
                    let task = async move { StepResult::Load(load.await) };
                    (request, self.tasks.spawn(task))
                }
            };
            self.running.insert(task.id(), StepTask { request, task });
        }
    }

    /// Handles the result of a step.
    pub(super) fn handle_ended(&mut self, ended: Result<(Id, StepResult), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        // Without a job its file was retired meanwhile.
        let Some(StepTask { request, .. }) = self.running.remove(&id) else {
            return;
        };
        let (file, unsettled) = (request.ready.file.clone(), request.ready.unsettled);
        self.schedule.ended(&file);
        match ended {
            Ok((_, StepResult::Inspect(Ok(InspectOutcome::Loadable(inspected))))) => {
                return self.plan(PlannedLoad { request, inspected });
            }
            Ok((_, StepResult::Inspect(Ok(InspectOutcome::CrashSuspect)))) => {
                tracing::warn!(
                    file,
                    "plugin {file}: an earlier runner process crashed while it loaded these bytes; they are loaded alone"
                );
                return self.schedule.add(LoadRequest {
                    alone: true,
                    ..request
                });
            }
            Ok((_, StepResult::Inspect(Ok(InspectOutcome::Unchanged(digest))))) => {
                self.retries.forget(&file);
                self.registry
                    .note(&file, PluginState::Live, Some(digest), None);
            }
            Ok((_, StepResult::Inspect(Ok(InspectOutcome::RenamedFrom(from))))) => {
                self.rename(&from, &file);
            }
            Ok((
                _,
                StepResult::Inspect(Ok(InspectOutcome::Changing)) | StepResult::Load(Ok(None)),
            )) => {
                self.settling(&file);
                self.tracker.settle_again(&file, true, Instant::now());
            }
            Ok((_, StepResult::Load(Ok(Some(new))))) => self.serve(request.ready, new),
            Ok((_, StepResult::Inspect(Err(rejected)) | StepResult::Load(Err(rejected)))) => {
                self.reject(request.ready, rejected);
            }
            Err(error) => {
                let reason = format!("internal error while loading: {error}");
                self.reject(
                    request.ready,
                    PluginRejected::new(None, reason, RetryWhen::Later),
                );
            }
        }
        self.complete(&file, unsettled);
    }
}
