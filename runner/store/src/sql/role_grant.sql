-- Caller: Store::grant_role. One row; missing: privileges that could not be granted.
SELECT {{schema}}.grant_role($1::text, $2::text) AS missing
