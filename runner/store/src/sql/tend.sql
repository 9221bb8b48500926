-- Caller: Store::tend.
SELECT t.promoted, t.expired, t.more FROM {{schema}}.tend($1::integer) AS t
