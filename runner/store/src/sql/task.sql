-- Caller: Store::task. Indexes: scheduled_tasks_pkey, history_pkey, and those of find_runnable.
-- No rows: there is no such task. Never more than one row, even during a move: the statement
-- uses one snapshot.
WITH found AS MATERIALIZED (
    SELECT * FROM {{schema}}.scheduled WHERE id = $1::bigint
    UNION ALL
    SELECT r.id, 'runnable', r.queue, r.handler, r.priority, r.args, NULL, NULL, NULL, NULL, r.attempts, r.crashes,
           r.retries, r.pushed_at, r.due_at, NULL, NULL, NULL, NULL, r.key, r.parent
    FROM {{schema}}.runnable_tasks AS r
    WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(ARRAY[$1])))
    UNION ALL
    SELECT u.* FROM {{schema}}.running AS u WHERE u.id = $1
    UNION ALL
    SELECT * FROM {{schema}}.complete WHERE id = $1
    UNION ALL
    SELECT * FROM {{schema}}.failed WHERE id = $1
    UNION ALL
    SELECT * FROM {{schema}}.cancelled WHERE id = $1
)
SELECT t.id, t.state, t.queue::text AS queue, t.handler::text AS handler, t.priority, t.args::text AS args, t.result::text AS result,
       t.error_kind, t.error_message, t.attempts, t.crashes, t.retries, t.pushed_at, t.due_at, t.started_at, t.finished_at,
       t.runner_id, t.claim_id, t.key::text AS key, t.parent,
       p.fraction, p.message,
       EXISTS (SELECT FROM {{schema}}.cancellations AS x
               WHERE x.task_id = t.id AND x.claim_id = t.claim_id AND t.state = 'running') AS cancel_asked
FROM found AS t
LEFT JOIN {{schema}}.progress AS p ON t.state = 'running' AND p.task_id = t.id AND p.claim_id = t.claim_id
