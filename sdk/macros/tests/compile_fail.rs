//! One case for each mistake an author can make, with the message that is
//! shown. `TRYBUILD=overwrite` accepts a change of the messages.

#[test]
fn mistakes_are_explained_where_they_are() {
    trybuild::TestCases::new().compile_fail("tests/fail/*.rs");
}
