-- Caller: Store::retire, after its claims were released.
DELETE FROM {{schema}}.runners WHERE id = $1::bigint
