-- Caller: Store::role_sql. Rows: statements.
SELECT s AS statement FROM {{schema}}.role_sql($1::text, $2::text, $3::boolean) AS s
