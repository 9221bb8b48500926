//! Property tests of the pure rules; PROPTEST_CASES sets the number of cases.

mod transitions;
