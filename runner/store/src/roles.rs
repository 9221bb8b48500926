//! Who may do what: roles of the database and the kinds they were made.

use super::connection::Role;
use super::sql::sql;
use super::{Store, StoreError};

/// A kind of user. What each may do stands in the table `role_privileges`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleKind {
    /// Pushes tasks and reads none.
    Pusher,
    /// Pops tasks and ends them, by SQL.
    Worker,
    /// Reads everything and changes nothing.
    Viewer,
    /// What `pgtq run` needs.
    Runner,
    /// What `pgtq deploy` looks at.
    Deployer,
    /// Operates, and where the schema has an owner that is no superuser also
    /// migrates and grants.
    Admin,
}

impl RoleKind {
    /// All of them.
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

/// A role that was made something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRow {
    /// The kind's name.
    pub kind: String,
    /// The role's.
    pub role: String,
    /// Since when.
    pub granted_at: jiff::Timestamp,
}

impl Store {
    /// The roles that were made something.
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

    /// Makes a role of the database one of this kind; again does no harm.
    /// Returns what could not be given.
    pub async fn grant_role(
        &self,
        kind: RoleKind,
        role: &str,
    ) -> Result<Option<String>, StoreError> {
        let rows = self
            .run(
                Role::General,
                "grant a role its rights",
                sql!("role_grant"),
                &[&kind.as_str(), &role],
            )
            .await?;
        Ok(rows[0].get("missing"))
    }

    /// Takes the rights of this kind back, but for those that another kind of the
    /// same role needs. False: it was not of this kind.
    pub async fn revoke_role(&self, kind: RoleKind, role: &str) -> Result<bool, StoreError> {
        let rows = self
            .run(
                Role::General,
                "take a role's rights",
                sql!("role_revoke"),
                &[&kind.as_str(), &role],
            )
            .await?;
        Ok(rows[0].get("changed"))
    }

    /// The statements that would give or take.
    pub async fn role_sql(
        &self,
        kind: RoleKind,
        role: &str,
        take: bool,
    ) -> Result<Vec<String>, StoreError> {
        let rows = self
            .run(
                Role::General,
                "write a role's rights",
                sql!("role_sql"),
                &[&kind.as_str(), &role, &take],
            )
            .await?;
        Ok(rows.iter().map(|row| row.get("statement")).collect())
    }
}
