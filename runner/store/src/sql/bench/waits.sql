-- Caller: Store::bench_waits. From push to start and to end, database time, of
-- the tasks of one handler; all NULL without any.
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY w.start)::float8 AS start_p50,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY w.start)::float8 AS start_p95,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY w.start)::float8 AS start_p99,
       max(w.start)::float8 AS start_max,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY w.finish)::float8 AS end_p50
FROM (
    SELECT extract(epoch FROM started_at - pushed_at)::float8 AS start,
           extract(epoch FROM finished_at - pushed_at)::float8 AS finish
    FROM {{schema}}.history
    WHERE handler = $1::text AND started_at IS NOT NULL
) AS w
