-- Caller: Store::tend.
SELECT t.promoted, t.expired FROM {{schema}}.tend($1::integer) AS t
