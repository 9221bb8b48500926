-- Caller: Store::tasks. Indexes: history_id or history_unsuccessful, read
-- backwards; runnable tasks are read whole, for want of an index by id. The progress is
-- looked for after the limit: it costs a look at the runners, not at the tasks.
SELECT t.*, p.fraction, p.message
FROM (
    SELECT t.id, t.state, t.queue::text AS queue, t.handler::text AS handler, t.priority, t.args::text AS args, t.result::text AS result,
           t.error_kind, t.error_message, t.attempts, t.crashes, t.retries, t.pushed_at, t.due_at, t.started_at, t.finished_at,
           t.runner_id, t.claim_id, t.key::text AS key, t.parent
    FROM {{schema}}.tasks AS t
    WHERE t.state IN ({{states}})
      AND ($1::text IS NULL OR t.queue = $1)
      AND ($2::text IS NULL OR t.handler LIKE $2)
      AND ($3::float8 IS NULL OR coalesce(t.finished_at, t.pushed_at) >= now() - $3 * interval '1 second')
      AND ($4::text IS NULL OR t.error_message ILIKE $4)
      AND ($5::bigint IS NULL OR t.id < $5)
    ORDER BY t.id DESC
    LIMIT $6::bigint
) AS t
LEFT JOIN {{schema}}.progress AS p ON t.state = 'running' AND p.task_id = t.id AND p.claim_id = t.claim_id
ORDER BY t.id DESC
