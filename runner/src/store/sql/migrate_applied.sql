-- Caller: migrate, on a schema before `served`. No rows: nothing was applied yet.
SELECT version, version AS serves, name, sha256, applied_at FROM {{schema}}.migrations ORDER BY version
