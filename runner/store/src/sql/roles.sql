-- Caller: Store::roles. Reads the whole table. Dropped roles are left out.
SELECT g.kind, g.role::text AS role, g.granted_at
FROM {{schema}}.role_grants AS g
JOIN pg_roles AS r ON r.rolname = g.role
ORDER BY g.kind, g.role
