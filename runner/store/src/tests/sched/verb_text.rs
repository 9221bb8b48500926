//! The text of each call, for reports of failed schedules.

use std::fmt;

use crate::tests::sched::verb::Verb;

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verb::Push(tasks) => {
                f.write_str("push")?;
                for task in tasks {
                    let queue = task.queue.as_ref().map_or("default", |q| q.as_str());
                    write!(f, " {}@{queue}", task.handler)?;
                    if let Some(key) = &task.key {
                        write!(f, " key={key}")?;
                    }
                    if task.delay.is_some() {
                        f.write_str(" later")?;
                    }
                }
                Ok(())
            }
            Verb::Finish {
                runner,
                endings,
                again,
                ..
            } => {
                write!(
                    f,
                    "finish{} by {runner}:",
                    if *again { " again" } else { "" }
                )?;
                for e in endings {
                    let how = if e.recorded {
                        "recorded".into()
                    } else {
                        e.transition.state().to_string()
                    };
                    write!(
                        f,
                        " ({} of {} {how}, {} children)",
                        e.task.id,
                        e.claim,
                        e.record.children.len()
                    )?;
                }
                Ok(())
            }
            Verb::CompleteInTask { runner, ending } => {
                write!(
                    f,
                    "complete in task by {runner}: {} of {}",
                    ending.task.id, ending.claim
                )
            }
            other => write!(f, "{other:?}"),
        }
    }
}
