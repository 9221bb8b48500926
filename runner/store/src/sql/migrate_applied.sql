-- Caller: migrate. No rows: nothing was applied yet.
SELECT version, serves, name, sha256, applied_at FROM {{schema}}.migrations ORDER BY version
