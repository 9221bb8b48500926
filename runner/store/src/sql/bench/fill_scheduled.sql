-- Caller: Store::bench_fill. Tasks that are due in an hour, made inside the server.
INSERT INTO {{schema}}.scheduled_tasks (queue, handler, priority, id, args, run_at)
SELECT $1::text, $2::text, 0, nextval('{{schema}}.task_ids'), $3::text::json, now() + interval '1 hour'
FROM generate_series(1, $4::bigint)
