//! Decides which statements a handler may run: those that read or write rows.
//!
//! Decided by the first keyword. The extended protocol itself rejects more than one statement at
//! a time. The database controls which objects a role may access; this check only prevents the
//! guest from controlling the transaction.

use pgtq_task::GuestError;

const ALLOWED: [&str; 8] = [
    "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE",
];

/// Rejects every statement that is not on the list.
pub(super) fn check(statement: &str) -> Result<(), GuestError> {
    if statement.contains('\0') {
        return Err(GuestError::new(
            "invalid",
            "the statement contains a NUL character",
        ));
    }
    let word = first_word(statement);
    if ALLOWED
        .iter()
        .any(|allowed| word.eq_ignore_ascii_case(allowed))
    {
        return Ok(());
    }
    let shown: String = word.chars().take(30).collect();
    let got = if shown.is_empty() {
        "this one is empty".to_owned()
    } else {
        format!("not with {shown}")
    };
    Err(GuestError::new(
        "invalid",
        format!(
            "a handler's statement begins with SELECT, INSERT, UPDATE, DELETE, MERGE, WITH, VALUES or TABLE, {got}; the runner itself opens, commits and rolls back the transaction"
        ),
    ))
}

/// Whether it may be a `SELECT INTO`, the only allowed statement that creates a table.
pub(super) fn may_make_a_table(statement: &str) -> bool {
    let word = first_word(statement);
    let writes = ["INSERT", "UPDATE", "DELETE", "MERGE"];
    !writes.iter().any(|write| word.eq_ignore_ascii_case(write))
        && statement
            .as_bytes()
            .windows(4)
            .any(|part| part.eq_ignore_ascii_case(b"into"))
}

/// The first keyword after white space, comments and opening parentheses.
fn first_word(statement: &str) -> &str {
    let mut rest = statement;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c', '(']);
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
        } else if rest.starts_with("/*") {
            rest = after_comment(rest);
        } else {
            break;
        }
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    &rest[..end.unwrap_or(rest.len())]
}

/// The text after the comment at the start of `text`; comments nest.
fn after_comment(text: &str) -> &str {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return &text[at..];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_read_or_write_rows_are_allowed() {
        for statement in [
            "SELECT 1",
            "select 1",
            "  (\n( SELECT 1))",
            "-- a comment\nINSERT INTO t VALUES (1)",
            "/* one /* two */ COMMIT */ UPDATE t SET a = 1",
            "WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a",
            "VALUES (1)",
            "TABLE t",
            "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
        ] {
            assert_eq!(check(statement), Ok(()), "{statement}");
        }
    }

    #[test]
    fn every_other_statement_is_rejected_by_its_first_keyword() {
        for statement in [
            "COMMIT",
            "rollback",
            "BEGIN",
            "SET ROLE postgres",
            "RESET ALL",
            "COPY t TO PROGRAM 'id'",
            "DO $$ BEGIN END $$",
            "CALL p()",
            "LISTEN a",
            "SAVEPOINT a",
            "PREPARE a AS SELECT 1",
            "EXECUTE a",
            "CREATE TABLE t ()",
            "EXPLAIN ANALYZE SELECT 1",
            "LOCK t",
            "SELECTED",
            "/* SELECT */ COMMIT",
            "/* SELECT",
            "-- SELECT",
            "; SELECT 1",
            "",
            "SELECT 1\0",
            "\u{a0}SELECT 1",
        ] {
            let problem = check(statement).expect_err(statement);
            assert_eq!(problem.code, "invalid", "{statement}");
        }
        let problem = check("COMMIT; DROP TABLE t").expect_err("refused");
        assert!(problem.message.contains("not with COMMIT"), "{problem:?}");
    }
}
