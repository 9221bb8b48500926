//! Harnesses that try to break the pure rules: PROPTEST_CASES says how often.

mod manifest;
mod rules;
mod transitions;
