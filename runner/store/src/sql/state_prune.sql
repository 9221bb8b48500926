-- Caller: Store::prune.
SELECT {{schema}}.prune_state($1::float8 * interval '1 second') AS deleted
