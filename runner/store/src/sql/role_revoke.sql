-- Caller: Store::revoke_role. One row.
SELECT {{schema}}.revoke_role($1::text, $2::text) AS changed
