//! The model: what each verb may do, as a function of plain values.
//!
//! The model receives the queue before and after a committed transaction, the verb and the
//! answer of its caller, and computes the expected queue. What the database may choose (ids,
//! which tasks a claim took) is read from the actual queue; everything that follows from it is
//! computed. `shared` says that other transactions were open meanwhile: then a verb may have
//! skipped locked tasks, or have read a slightly older state.

use crate::tests::sched::model::changes::counted;
use crate::tests::sched::verb::{Answer, HANDLERS, Verb};
use crate::tests::sched::world::{Claim, Note, Task, World};

mod changes;
mod lost;
mod operators;
mod runners;

pub(super) type Verdict = Result<(), String>;

/// Returns an error unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(format!($($words)+));
        }
    };
}
use ensure;

/// One committed transaction to check.
struct Turn<'a> {
    before: &'a World,
    seen: &'a World,
    shared: bool,
    /// The expected state.
    next: World,
    /// New tasks without an explanation yet, in the order of their ids.
    fresh: Vec<i64>,
}

/// Checks a committed transaction. No answer means that the caller did not receive one.
pub(super) fn judge(
    before: &World,
    verb: &Verb,
    seen: &World,
    shared: bool,
    answer: Option<&Answer>,
) -> Verdict {
    let mut fresh: Vec<i64> = seen.tasks.keys().copied().collect();
    fresh.retain(|id| !before.tasks.contains_key(id));
    fresh.reverse();
    let mut turn = Turn {
        before,
        seen,
        shared,
        next: before.clone(),
        fresh,
    };
    turn.apply(verb, answer)?;
    if shared {
        // A heartbeat is several statements, each a transaction: its runner, or one that was
        // removed and comes back, may have withdrawn its reports meanwhile.
        let is_lost = |runner: i64| seen.runners.get(&runner) == Some(&true);
        let reports = &mut turn.next.reports;
        reports.retain(|r| seen.reports.contains(r) || is_lost(r.2));
    }
    let lines = turn.next.differences(seen);
    ensure!(
        lines.is_empty(),
        "the queue is not what it should be:\n  {}",
        lines.join("\n  ")
    );
    Ok(())
}

impl Turn<'_> {
    fn apply(&mut self, verb: &Verb, answer: Option<&Answer>) -> Verdict {
        match verb {
            Verb::Push(tasks) => self.push(tasks, answer),
            Verb::Claim { runner, want } => self.claim(*runner, *want, answer),
            Verb::Finish {
                runner,
                endings,
                again,
                ..
            } => self.finish(*runner, endings, *again, answer),
            Verb::CompleteInTask { runner, ending } => {
                self.complete_in_task(*runner, ending, answer)
            }
            Verb::Isolate {
                runner,
                claim,
                task,
            } => self.isolate(*runner, *claim, *task, answer),
            Verb::ReleaseClaim { runner, claim } => self.release(*runner, Some(*claim), answer),
            Verb::Retire { runner } => {
                self.release(*runner, None, answer)?;
                self.next.runners.remove(runner);
                Ok(())
            }
            Verb::Beat { runner } => self.beat(*runner, answer),
            Verb::Register => self.register(answer),
            Verb::Rescue { orphans } => self.rescue(*orphans, answer),
            Verb::Promote { limit } => self.promote(*limit, answer),
            Verb::Prune => self.prune(),
            Verb::Cancel(ids) => self.cancel(ids, answer),
            Verb::Retry(ids) => self.retry(ids, answer),
            Verb::Delete(ids) => self.delete(ids, answer),
            Verb::Pause { on, kind, name } => self.pause(*on, &format!("{kind}:{name}"), answer),
            Verb::Expire { runner } => {
                if let Some(expired) = self.next.runners.get_mut(runner) {
                    *expired = true;
                }
                Ok(())
            }
            Verb::Due => {
                self.next
                    .tasks
                    .values_mut()
                    .for_each(|t| t.due = t.is("scheduled"));
                Ok(())
            }
            Verb::Age => {
                self.next
                    .tasks
                    .values_mut()
                    .filter(|t| t.is_final())
                    .for_each(|t| t.age += 1);
                self.next.claims.values_mut().for_each(|c| c.age += 1);
                let notes = std::mem::take(&mut self.next.notes);
                let older = |note: Note| Note {
                    age: note.age + 1,
                    ..note
                };
                self.next.notes = notes
                    .into_iter()
                    .map(|(note, n)| (older(note), n))
                    .collect();
                Ok(())
            }
        }
    }

    fn push(&mut self, tasks: &[pgtq_task::NewTask], answer: Option<&Answer>) -> Verdict {
        let mut expected = Vec::new();
        for task in tasks {
            expected.push(self.push_one(task)?);
        }
        match answer {
            Some(Answer::Pushed(pushed)) => {
                let same = |(a, b): (&(i64, bool), &(i64, bool))| a == b || b.0 == 0 && a.1 == b.1;
                let right =
                    pushed.len() == expected.len() && pushed.iter().zip(&expected).all(same);
                ensure!(right, "the answer is {pushed:?}, should be {expected:?}");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The id of the task that exists now (0: it was deleted meanwhile), and whether it existed
    /// before.
    fn push_one(&mut self, task: &pgtq_task::NewTask) -> Result<(i64, bool), String> {
        let queue = task
            .queue
            .as_ref()
            .map_or("default", |q| q.as_str())
            .to_owned();
        let place = task.key.clone().map(|key| (queue.clone(), key));
        if let Some(id) = place.as_ref().and_then(|place| self.next.keys.get(place))
            && !self.is_free(place.as_ref(), *id)
        {
            return Ok((*id, true));
        }
        let of_another = |id: &i64| self.seen.tasks[id].key != task.key;
        if self.shared && place.is_some() && self.fresh.last().is_none_or(of_another) {
            // The task with the key was deleted while this push was running.
            return Ok((0, true));
        }
        let id = self
            .fresh
            .pop()
            .ok_or_else(|| format!("{task:?} was not pushed"))?;
        if let Some(place) = place {
            self.next.keys.insert(place, id);
        }
        let waits = task.delay.is_some();
        self.next.tasks.insert(
            id,
            Task {
                id,
                place: if waits { "scheduled" } else { "runnable" }.to_owned(),
                queue,
                handler: task.handler.to_string(),
                priority: task.priority,
                attempts: 0,
                crashes: 0,
                retries: task.retries.map(|r| r.to_column()),
                key: task.key.clone(),
                parent: task.parent.map(|p| p.0),
                args: task.args.clone(),
                claim: None,
                error: None,
                due: false,
                age: 0,
            },
        );
        Ok((id, false))
    }

    /// Whether a new task may take the key: the key has expired, and its task has ended.
    fn is_free(&self, place: Option<&(String, String)>, id: i64) -> bool {
        let expired = place.is_some_and(|place| {
            self.before.expired_keys.contains(place) && self.before.keys.get(place) == Some(&id)
        });
        expired && self.next.tasks.get(&id).is_none_or(Task::is_final)
    }

    fn claim(&mut self, runner: i64, want: u32, answer: Option<&Answer>) -> Verdict {
        let (before, seen, shared) = (self.before, self.seen, self.shared);
        let is_free = |t: &&Task| {
            let paused = before.paused.contains(&format!("queue:{}", t.queue))
                || before.paused.contains(&format!("handler:{}", t.handler));
            t.is("runnable") && HANDLERS.contains(&t.handler.as_str()) && (!paused || shared)
        };
        let made = seen
            .claims
            .iter()
            .find(|(id, c)| c.runner == runner && !before.claims.contains_key(id));
        let Some((id, claim)) = made else {
            let free = before.tasks.values().find(is_free);
            let could = !shared && before.runners.contains_key(&runner);
            ensure!(
                !could || free.is_none(),
                "nothing was claimed, but there is {free:?}"
            );
            ensure!(
                !matches!(answer, Some(Answer::Claimed(Some(_)))),
                "claimed, but there is no claim"
            );
            return Ok(());
        };
        ensure!(
            shared || before.runners.contains_key(&runner),
            "a removed runner claimed"
        );
        ensure!(
            claim.tasks.len() <= want as usize,
            "claimed more than {want}"
        );
        self.next
            .claims
            .insert(*id, Claim::new(*id, runner, false, claim.tasks.clone()));
        for task in &claim.tasks {
            let was = before.tasks.get(task);
            ensure!(
                was.as_ref().is_some_and(is_free),
                "claimed what was not free: {was:?}"
            );
            self.put(*task, "running", Some(*id));
        }
        if let Some(Answer::Claimed(reported)) = answer {
            let reported = reported
                .as_ref()
                .map(|(id, tasks)| (*id, tasks.iter().map(|t| t.id.0).collect()));
            let mut wanted: Vec<i64> = reported
                .as_ref()
                .map_or(Vec::new(), |(_, tasks): &(i64, Vec<i64>)| tasks.clone());
            let mut held = claim.tasks.clone();
            wanted.sort_unstable();
            held.sort_unstable();
            ensure!(
                reported.map(|t| t.0) == Some(*id) && wanted == held,
                "the answer is not the claim {claim:?}"
            );
        }
        Ok(())
    }

    fn promote(&mut self, limit: u32, answer: Option<&Answer>) -> Verdict {
        let due: Vec<i64> = self
            .before
            .tasks
            .values()
            .filter(|t| t.due)
            .map(|t| t.id)
            .collect();
        let moved: Vec<i64> = due
            .iter()
            .copied()
            .filter(|id| self.place(*id) == "runnable")
            .collect();
        let all = due.len().min(limit as usize);
        ensure!(
            self.shared || moved.len() == all,
            "{} of {all} were promoted",
            moved.len()
        );
        for id in &moved {
            self.put(*id, "runnable", None);
        }
        counted(answer, moved.len())
    }

    fn prune(&mut self) -> Verdict {
        let oldest = self
            .before
            .claims
            .values()
            .map(|c| c.age)
            .max()
            .unwrap_or(0);
        let (seen, shared) = (self.seen, self.shared);
        for task in self
            .before
            .tasks
            .values()
            .filter(|t| t.is_final() && t.age > 0)
        {
            let gone = !seen.tasks.contains_key(&task.id);
            let may = task
                .claim
                .is_none_or(|c| !self.before.claims.contains_key(&c));
            ensure!(may || !gone, "pruned too early: {task:?}");
            ensure!(gone || shared || task.age <= oldest, "not pruned: {task:?}");
            // Its key has its own expiry.
            if gone {
                self.next.tasks.remove(&task.id);
            }
        }
        for (place, id) in &self.before.keys {
            if !seen.keys.contains_key(place) {
                let waits = self.before.tasks.get(id).is_some_and(|t| !t.is_final());
                ensure!(!waits, "the key of a task that waits or runs is gone: {id}");
                self.next.keys.remove(place);
            }
        }
        for note in self.before.notes.keys().filter(|n| n.age > 0) {
            let gone = !seen.notes.contains_key(note);
            let lives = note
                .claim
                .is_some_and(|c| self.before.claims.contains_key(&c));
            ensure!(!gone || !lives, "pruned too early: {note:?}");
            if gone {
                self.next.notes.remove(note);
            }
        }
        Ok(())
    }

    fn pause(&mut self, on: bool, what: &str, answer: Option<&Answer>) -> Verdict {
        let changed = if on {
            self.next.paused.insert(what.to_owned())
        } else {
            self.next.paused.remove(what)
        };
        match answer {
            Some(Answer::Changed(reported)) if *reported != changed => {
                Err(format!("reported {reported}"))
            }
            _ => Ok(()),
        }
    }
}
