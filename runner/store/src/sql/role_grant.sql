-- Caller: Store::grant_role. One row; missing: what could not be given.
SELECT {{schema}}.grant_role($1::text, $2::text) AS missing
