-- Caller: Store::bench_fill. Tasks that wait, made inside the server: not a push.
INSERT INTO {{schema}}.runnable_tasks (queue, handler, priority, position, id, args)
SELECT $1::text, $2::text, 0, n.id, n.id, $3::text::json
FROM (SELECT nextval('{{schema}}.task_ids') AS id FROM generate_series(1, $4::bigint)) AS n
