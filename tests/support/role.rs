//! Database roles of one test. Roles belong to the whole server, so their names contain
//! the name of the test's database.

use super::{Sql, cli};

/// Creates a role with LOGIN and no privileges, named `{database}_{suffix}`.
#[track_caller]
pub fn login_role(sql: &Sql, suffix: &str) -> String {
    let role = sql.row(&format!("SELECT current_database() || '_{suffix}'"));
    sql.rows(&format!(
        "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN"
    ));
    role
}

/// Allows handlers to run SQL as this role, and creates a table `app.rows` for it.
#[track_caller]
pub fn create_app_rows(sql: &Sql, role: &str) {
    sql.rows(&format!(
        "SELECT pgtq.allow_sql('{role}');
         CREATE SCHEMA app AUTHORIZATION {role};
         CREATE TABLE app.rows (task bigint, note text);
         ALTER TABLE app.rows OWNER TO {role};
         ALTER ROLE {role} SET search_path = app"
    ));
}

/// A role with the privileges of a `pgtq roles` kind.
#[derive(Debug)]
pub struct User {
    /// The name of the role.
    pub role: String,
    /// The URL to log in as the role.
    pub url: String,
}

impl User {
    /// Creates a role of this kind, on the database of both `sql` and `url`.
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
