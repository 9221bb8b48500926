//! Property tests of the pure rules; PROPTEST_CASES sets the number of cases.

mod manifest;
mod rules;
mod transitions;
