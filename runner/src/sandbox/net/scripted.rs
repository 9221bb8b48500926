//! A resolver whose answers a test writes.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::resolve::{Lookup, Resolver};

/// Answers each name with what was written for it, one answer after the other;
/// the last one stays.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Scripted {
    answers: Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Scripted {
    pub(in crate::sandbox) fn new(answers: &[(&str, &[&[&str]])]) -> Arc<Scripted> {
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
    pub(in crate::sandbox) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

impl Resolver for Scripted {
    fn lookup<'a>(&'a self, host: &'a str) -> Lookup<'a> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(host.to_owned());
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers
            .get_mut(host)
            .and_then(|answers| match answers.len() {
                0 | 1 => answers.front().cloned(),
                _ => answers.pop_front(),
            });
        let answer = answer.ok_or_else(|| io::Error::other("no such name"));
        Box::pin(std::future::ready(answer))
    }
}
