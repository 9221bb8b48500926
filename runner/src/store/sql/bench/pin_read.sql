-- Caller: Store::bench_pin. A snapshot is taken by the first statement.
SELECT count(*) FROM {{schema}}.runners
