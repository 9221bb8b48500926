-- Caller: Store::bench_settle. Fresh statistics for what was just filled.
VACUUM (ANALYZE) {{schema}}.runnable_tasks, {{schema}}.scheduled_tasks, {{schema}}.claims
