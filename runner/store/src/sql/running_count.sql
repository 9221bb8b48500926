-- Caller: Store::stats. Reads the live claims.
SELECT count(*) AS running FROM {{schema}}.in_flight
