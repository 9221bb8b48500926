//! Operations on tasks: cancel, retry, delete.

use std::collections::BTreeSet;

use crate::tests::sched::model::{Turn, Verdict, ensure};
use crate::tests::sched::verb::Answer;

/// A task's previous state, and whether something changed; `None` means unknown.
type Reported = (Option<String>, Option<bool>);

impl Turn<'_> {
    pub(super) fn cancel(&mut self, ids: &[i64], answer: Option<&Answer>) -> Verdict {
        let mut expected = Vec::new();
        for id in ids {
            let was = self.before.tasks.get(id).map(|t| t.place.clone());
            // Or the cancellation names a claim that the task has left meanwhile.
            let crossed = self.shared && self.seen.asked.iter().any(|(_, task)| task == id);
            let changed = self.cancel_one(*id);
            expected.push((was, (changed || !crossed).then_some(changed)));
        }
        if self.shared {
            let crossed = |pair: &&(i64, i64)| ids.contains(&pair.1);
            let more: Vec<(i64, i64)> = self.seen.asked.iter().filter(crossed).copied().collect();
            self.next.asked.extend(more);
        }
        self.check_answers(ids, &expected, answer)
    }

    /// Cancels a task in its current state. Returns whether something changed.
    pub(super) fn cancel_one(&mut self, id: i64) -> bool {
        let Some(task) = self.next.tasks.get(&id) else {
            return false;
        };
        if task.is_final() {
            return false;
        }
        if let (true, Some(claim)) = (task.is("running"), task.claim) {
            if self.shared && !self.seen.asked.contains(&(claim, id)) {
                return false;
            }
            self.next.asked.insert((claim, id));
            return true;
        }
        if self.shared && self.place(id) != "cancelled" {
            return false;
        }
        self.put(id, "cancelled", None);
        true
    }

    pub(super) fn retry(&mut self, ids: &[i64], answer: Option<&Answer>) -> Verdict {
        let wanted: BTreeSet<i64> = ids.iter().copied().collect();
        for pair in &self.before.asked {
            let left = wanted.contains(&pair.1) && !self.before.runs_under(pair.0, pair.1);
            if left && (!self.shared || !self.seen.asked.contains(pair)) {
                self.next.asked.remove(pair);
            }
        }
        let mut expected = Vec::new();
        let mut again = Vec::new();
        for id in ids {
            let Some(task) = self.before.tasks.get(id) else {
                expected.push((None, Some(false)));
                continue;
            };
            let moves = task.is("scheduled") || task.is("failed") || task.is("cancelled");
            let moved = moves && (!self.shared || self.place(*id) == "runnable");
            expected.push((Some(task.place.clone()), Some(moved)));
            if !moved || !wanted.contains(id) {
                continue;
            }
            self.put(*id, "runnable", None);
            if task.is_final() {
                again.push(task);
                let kind = task.error.as_deref().unwrap_or("cancelled");
                self.note(*id, task.claim, kind, task.attempts, task.age);
                let now = self.next.tasks.get_mut(id).ok_or("is there")?;
                (now.attempts, now.crashes) = (0, 0);
            }
        }
        // A key that no other task has; of several tasks the newest gets it.
        again.sort_unstable_by_key(|task| std::cmp::Reverse(task.id));
        for task in again {
            let Some(key) = &task.key else { continue };
            let place = (task.queue.clone(), key.clone());
            if !self.shared || self.seen.keys.get(&place) == Some(&task.id) {
                self.next.keys.entry(place).or_insert(task.id);
            }
        }
        self.check_answers(ids, &expected, answer)
    }

    pub(super) fn delete(&mut self, ids: &[i64], answer: Option<&Answer>) -> Verdict {
        let mut expected = Vec::new();
        for id in ids {
            let Some(task) = self.before.tasks.get(id) else {
                expected.push((None, Some(false)));
                continue;
            };
            let gone = !task.is("running") && (!self.shared || !self.seen.tasks.contains_key(id));
            expected.push((Some(task.place.clone()), Some(gone)));
            if !gone {
                continue;
            }
            self.remove(task);
            // Only outcomes in a claim that still exists need a row.
            let lives =
                |claim: Option<i64>| claim.is_some_and(|c| self.before.claims.contains_key(&c));
            if self.shared {
                self.next.notes.retain(|note, _| note.task != *id);
                let left = self.seen.notes.iter().filter(|(note, _)| note.task == *id);
                let left: Vec<_> = left.map(|(note, n)| (note.clone(), *n)).collect();
                self.next.notes.extend(left);
            } else {
                self.next
                    .notes
                    .retain(|note, _| note.task != *id || lives(note.claim));
                if task.is_final() && lives(task.claim) {
                    self.note(*id, task.claim, "deleted", 0, 0);
                }
            }
        }
        self.check_answers(ids, &expected, answer)
    }

    fn check_answers(&self, ids: &[i64], wanted: &[Reported], answer: Option<&Answer>) -> Verdict {
        let Some(Answer::Moved(moved)) = answer else {
            return Ok(());
        };
        for ((id, wanted), moved) in ids.iter().zip(wanted).zip(moved) {
            let was = moved.was.map(|state| state.as_str().to_owned());
            let did = wanted.1.is_none_or(|changed| changed == moved.changed);
            ensure!(moved.id.0 == *id, "the answers are not in order");
            // The previous state may be slightly old; the change must be exact.
            let right = did && (was == wanted.0 || self.shared);
            ensure!(right, "reported {moved:?}, should be {wanted:?}");
        }
        Ok(())
    }
}
