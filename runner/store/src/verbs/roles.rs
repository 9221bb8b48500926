//! Privileges: database roles and the kinds they were granted.

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::sql::sql;

/// A kind of user. The table `role_privileges` defines the privileges of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleKind {
    /// Pushes tasks and cannot read them.
    Pusher,
    /// Pops and finishes tasks by SQL.
    Worker,
    /// Reads everything and changes nothing.
    Viewer,
    /// The privileges of `pgtq run`.
    Runner,
    /// The privileges of `pgtq deploy`.
    Deployer,
    /// Operates the queue; if the owner of the schema is not a superuser, it also migrates and
    /// grants.
    Admin,
}

impl RoleKind {
    /// All kinds.
    pub const ALL: [RoleKind; 6] = [
        RoleKind::Pusher,
        RoleKind::Worker,
        RoleKind::Viewer,
        RoleKind::Runner,
        RoleKind::Deployer,
        RoleKind::Admin,
    ];

    /// Its name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            RoleKind::Pusher => "pusher",
            RoleKind::Worker => "worker",
            RoleKind::Viewer => "viewer",
            RoleKind::Runner => "runner",
            RoleKind::Deployer => "deployer",
            RoleKind::Admin => "admin",
        }
    }
}

/// A role that was granted a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRow {
    /// The name of the kind.
    pub kind: String,
    /// The name of the role.
    pub role: String,
    /// When it was granted.
    pub granted_at: jiff::Timestamp,
}

impl Store {
    /// The roles that were granted a kind.
    pub async fn roles(&self) -> Result<Vec<RoleRow>, StoreError> {
        let rows = self
            .run(Role::General, "list the roles", sql!("roles"), &[])
            .await?;
        let row = |row: &tokio_postgres::Row| RoleRow {
            kind: row.get("kind"),
            role: row.get("role"),
            granted_at: row.get("granted_at"),
        };
        Ok(rows.iter().map(row).collect())
    }

    /// Grants a database role this kind; repeating it has no effect. Returns the privileges that
    /// could not be granted.
    pub async fn grant_role(
        &self,
        kind: RoleKind,
        role: &str,
    ) -> Result<Option<String>, StoreError> {
        let rows = self
            .run(
                Role::General,
                "grant privileges to a role",
                sql!("role_grant"),
                &[&kind.as_str(), &role],
            )
            .await?;
        Ok(rows[0].get("missing"))
    }

    /// Revokes this kind's privileges, except those that another kind of the same role needs.
    /// False: the role did not have this kind.
    pub async fn revoke_role(&self, kind: RoleKind, role: &str) -> Result<bool, StoreError> {
        let rows = self
            .run(
                Role::General,
                "revoke privileges from a role",
                sql!("role_revoke"),
                &[&kind.as_str(), &role],
            )
            .await?;
        Ok(rows[0].get("changed"))
    }

    /// The statements that would grant or revoke.
    pub async fn role_sql(
        &self,
        kind: RoleKind,
        role: &str,
        take: bool,
    ) -> Result<Vec<String>, StoreError> {
        let rows = self
            .run(
                Role::General,
                "list the privileges of a role",
                sql!("role_sql"),
                &[&kind.as_str(), &role, &take],
            )
            .await?;
        Ok(rows.iter().map(|row| row.get("statement")).collect())
    }
}
