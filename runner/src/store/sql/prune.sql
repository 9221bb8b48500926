-- Caller: Store::prune.
SELECT p.created, p.dropped, p.deleted FROM {{schema}}.prune($1::float8 * interval '1 second') AS p
