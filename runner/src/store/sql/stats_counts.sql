-- Caller: Store::stats. Counts everything that is not over.
SELECT (SELECT count(*) FROM {{schema}}.scheduled_tasks) AS scheduled,
       (SELECT count(*) FROM {{schema}}.runnable_tasks) AS runnable,
       (SELECT count(*) FROM {{schema}}.unended) AS running
