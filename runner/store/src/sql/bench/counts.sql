-- Caller: Store::bench_counts. Reads everything: once, after the clock has stopped.
SELECT (SELECT count(*) FROM {{schema}}.history) AS ended,
       (SELECT count(*) FROM (SELECT DISTINCT id FROM {{schema}}.history) AS d) AS distinct_ended,
       (SELECT count(*) FROM {{schema}}.history WHERE state = 'complete') AS complete,
       (SELECT count(*) FROM {{schema}}.runnable_tasks) AS runnable,
       (SELECT count(*) FROM {{schema}}.scheduled_tasks) AS scheduled,
       (SELECT count(*) FROM {{schema}}.in_flight) AS running
