//! Changes of the expected queue.

use crate::tests::sched::model::{Turn, Verdict, ensure};
use crate::tests::sched::verb::Answer;
use crate::tests::sched::world::{Note, Task};

impl Turn<'_> {
    /// The current state of a task.
    pub(super) fn place(&self, task: i64) -> &str {
        self.seen
            .tasks
            .get(&task)
            .map_or("nowhere", |t| t.place.as_str())
    }

    /// Moves a task and clears the values of its last end.
    pub(super) fn put(&mut self, task: i64, place: &str, claim: Option<i64>) {
        if let Some(task) = self.next.tasks.get_mut(&task) {
            task.place = place.to_owned();
            task.claim = claim;
            task.error = None;
            task.due = false;
            task.age = 0;
        }
    }

    pub(super) fn remove(&mut self, task: &Task) {
        self.next.tasks.remove(&task.id);
        if let Some(key) = &task.key {
            let place = (task.queue.clone(), key.clone());
            if self.next.keys.get(&place) == Some(&task.id) {
                self.next.keys.remove(&place);
            }
        }
    }

    pub(super) fn note(
        &mut self,
        task: i64,
        claim: Option<i64>,
        kind: &str,
        number: i32,
        age: i32,
    ) {
        let note = Note {
            task,
            claim,
            kind: kind.to_owned(),
            number,
            age,
        };
        *self.next.notes.entry(note).or_default() += 1;
    }
}

pub(super) fn counted(answer: Option<&Answer>, n: usize) -> Verdict {
    match answer {
        Some(Answer::Count(reported)) => {
            ensure!(
                *reported == n as u64,
                "the answer is {reported}, should be {n}"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}
