-- Caller: Store::bench_touched. Whether a task was ever claimed here.
SELECT EXISTS (SELECT FROM {{schema}}.claims) OR EXISTS (SELECT FROM {{schema}}.history) AS touched
