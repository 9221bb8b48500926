//! Roles of one test. They are the whole server's, so they are named after the test's
//! database.

use super::{Sql, cli};

/// Makes a role that may log in, with no rights yet: `{database}_{word}`.
#[track_caller]
pub fn login_role(sql: &Sql, word: &str) -> String {
    let role = sql.row(&format!("SELECT current_database() || '_{word}'"));
    sql.rows(&format!(
        "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN"
    ));
    role
}

/// Lets handlers speak SQL as this role, and gives it a table `app.rows`.
#[track_caller]
pub fn give_rows(sql: &Sql, role: &str) {
    sql.rows(&format!(
        "SELECT pgtq.allow_sql('{role}');
         CREATE SCHEMA app AUTHORIZATION {role};
         CREATE TABLE app.rows (task bigint, note text);
         ALTER TABLE app.rows OWNER TO {role};
         ALTER ROLE {role} SET search_path = app"
    ));
}

/// A role with the rights of one kind of user.
#[derive(Debug)]
pub struct User {
    /// Its name.
    pub role: String,
    /// The address to log in with it.
    pub url: String,
}

impl User {
    /// Of this kind in the words of `pgtq roles`, on the database that `sql` looks at
    /// and `url` leads to.
    #[track_caller]
    pub fn of_kind(kind: &str, url: &str, sql: &Sql) -> Self {
        let role = login_role(sql, kind);
        cli(url, &["roles", kind, &role], "").success();
        let owner = sql.row("SELECT current_user");
        let url = url.replace(&format!("user={owner}"), &format!("user={role}"));
        assert!(url.contains(&role), "{url}");
        User { role, url }
    }
}
