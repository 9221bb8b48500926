//! Resolvers whose answers a test defines.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::resolve::Resolver;

/// Answers each name with its list of answers, one after the other; the last one repeats.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    answers: Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Scripted {
    pub(crate) fn new(answers: &[(&str, &[&[&str]])]) -> Arc<Scripted> {
        let ip = |text: &&str| text.parse::<IpAddr>().expect("an address");
        let script = answers.iter().map(|(name, answers)| {
            let answers = answers.iter().map(|answer| answer.iter().map(ip).collect());
            ((*name).to_owned(), answers.collect())
        });
        Arc::new(Scripted {
            answers: Mutex::new(script.collect()),
            asked: Mutex::default(),
        })
    }

    /// The names that were looked up, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

impl Resolver for Scripted {
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(host.to_owned());
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers
            .get_mut(host)
            .and_then(|answers| match answers.len() {
                0 | 1 => answers.front().cloned(),
                _ => answers.pop_front(),
            });
        answer.ok_or_else(|| io::Error::other("no such name"))
    }
}

/// A name server that does not answer until its [`LetGo`] is dropped; then it knows no
/// name.
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    asked: Mutex<usize>,
    is_let_go: Mutex<bool>,
    let_go: Condvar,
}

/// Lets go when it is dropped, so that a failing test ends, too: the runtime waits for
/// its threads.
pub(crate) struct LetGo(Arc<Stuck>);

impl Drop for LetGo {
    fn drop(&mut self) {
        *lock(&self.0.is_let_go) = true;
        self.0.let_go.notify_all();
    }
}

impl Stuck {
    pub(crate) fn new() -> (Arc<Stuck>, LetGo) {
        let stuck = Arc::new(Stuck::default());
        let let_go = LetGo(Arc::clone(&stuck));
        (stuck, let_go)
    }

    /// Number of lookups so far: waiting threads, before it is let go.
    pub(crate) fn asked(&self) -> usize {
        *lock(&self.asked)
    }
}

impl Resolver for Stuck {
    fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        *lock(&self.asked) += 1;
        let is_let_go = lock(&self.is_let_go);
        let waited = self.let_go.wait_while(is_let_go, |is_let_go| !*is_let_go);
        drop(waited);
        Err(io::Error::other("no such name"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
