-- Caller: Store::wait_final. Index: history_pkey. No rows: not final.
SELECT id FROM {{schema}}.history WHERE id = $1::bigint LIMIT 1
