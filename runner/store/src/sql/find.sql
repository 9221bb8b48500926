-- Caller: Store::find. Index: keys_pkey, and as state_of. At most one row.
SELECT f.id, f.state FROM {{schema}}.find($1::text, $2::text) AS f
