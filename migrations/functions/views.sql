-- The documented views: the six states with the same columns. The tables behind them can
-- change; columns of these views can only be added at the end. A view precedes the views
-- that read it.

-- Not documented: the unfinished tasks of claims, for the store. The hour is a margin for
-- pruning partitions; the claim's id decides.
--
-- Arguments are large, so damage most likely affects them. They are read only for a claim
-- of which a row is shown, and not at all if the query does not select them: hence the
-- outer join, and DISTINCT ON, which lets the planner remove the join.
CREATE OR REPLACE VIEW {{schema}}.in_flight AS
SELECT c.id AS claim_id, c.runner_id, c.claimed_at, c.solo,
       t.id, t.queue COLLATE "C" AS queue, t.handler COLLATE "C" AS handler, t.priority,
       t.attempts, t.crashes, t.retries, t.pushed_at, t.due_at, t.key COLLATE "C" AS key, t.parent, v.traits, v.args
FROM {{schema}}.claims AS c
CROSS JOIN LATERAL unnest(c.task_ids, c.queues, c.handlers, c.priorities, c.attempts, c.crashes, c.retries,
                          c.pushed_at, c.due_at, c.keys, c.parents)
    WITH ORDINALITY AS t (id, queue, handler, priority, attempts, crashes, retries, pushed_at, due_at, key, parent, place)
LEFT JOIN LATERAL (
    SELECT DISTINCT ON (u.place) u.place, u.traits, u.args
    FROM unnest(c.traits, c.args) WITH ORDINALITY AS u (traits, args, place)) AS v ON v.place = t.place
WHERE NOT EXISTS (
        SELECT FROM {{schema}}.history AS h
        WHERE h.id = t.id AND h.claim_id = c.id AND h.finished_at >= c.claimed_at - interval '1 hour')
  AND NOT EXISTS (
        SELECT FROM {{schema}}.attempts AS a
        WHERE a.task_id = t.id AND a.claim_id = c.id AND a.ended_at >= c.claimed_at - interval '1 hour')
UNION ALL
SELECT p.claim_id, NULL::bigint, p.popped_at, false,
       p.task_id, p.queue, p.handler, p.priority,
       p.attempts, p.crashes, p.retries, p.pushed_at, p.due_at, p.key, p.parent, p.traits, p.args
FROM {{schema}}.popped AS p;
COMMENT ON VIEW {{schema}}.in_flight IS 'Unfinished tasks of live claims, and popped tasks. For the store; read running instead.';

CREATE OR REPLACE VIEW {{schema}}.scheduled AS
SELECT id, 'scheduled'::text AS state, queue, handler, priority, args, NULL::json AS result,
       NULL::text AS error_kind, NULL::text AS error_code, NULL::text AS error_message,
       attempts, crashes, retries, pushed_at, run_at AS due_at,
       NULL::timestamptz AS started_at, NULL::timestamptz AS finished_at,
       NULL::bigint AS runner_id, NULL::bigint AS claim_id, key, parent
FROM {{schema}}.scheduled_tasks;
COMMENT ON VIEW {{schema}}.scheduled IS 'Tasks that are not due yet (due_at), including retries.';

CREATE OR REPLACE VIEW {{schema}}.runnable AS
SELECT id, 'runnable'::text AS state, queue, handler, priority, args, NULL::json AS result,
       NULL::text AS error_kind, NULL::text AS error_code, NULL::text AS error_message,
       attempts, crashes, retries, pushed_at, due_at,
       NULL::timestamptz AS started_at, NULL::timestamptz AS finished_at,
       NULL::bigint AS runner_id, NULL::bigint AS claim_id, key, parent
FROM {{schema}}.runnable_tasks;
COMMENT ON VIEW {{schema}}.runnable IS 'Tasks that are due: the next free runner with the handler takes them. A condition on the id reads all of them; get(id) does not.';

CREATE OR REPLACE VIEW {{schema}}.running AS
SELECT id, 'running'::text AS state, queue, handler, priority, args, NULL::json AS result,
       NULL::text AS error_kind, NULL::text AS error_code, NULL::text AS error_message,
       attempts, crashes, retries, pushed_at, due_at,
       claimed_at AS started_at, NULL::timestamptz AS finished_at,
       runner_id, claim_id, key, parent
FROM {{schema}}.in_flight;
COMMENT ON VIEW {{schema}}.running IS 'Tasks that a runner or an external worker has claimed. started_at is the time of the claim.';

CREATE OR REPLACE VIEW {{schema}}.complete AS
SELECT id, state, queue, handler, priority, args, result, error_kind, error_code, error_message,
       attempts, crashes, retries, pushed_at, due_at, started_at, finished_at, runner_id, claim_id, key, parent
FROM {{schema}}.history WHERE state = 'complete';
COMMENT ON VIEW {{schema}}.complete IS 'Tasks that succeeded, with their result.';

CREATE OR REPLACE VIEW {{schema}}.failed AS
SELECT id, state, queue, handler, priority, args, result, error_kind, error_code, error_message,
       attempts, crashes, retries, pushed_at, due_at, started_at, finished_at, runner_id, claim_id, key, parent
FROM {{schema}}.history WHERE state = 'failed';
COMMENT ON VIEW {{schema}}.failed IS 'Tasks that failed and are not retried, with their last error.';

CREATE OR REPLACE VIEW {{schema}}.cancelled AS
SELECT id, state, queue, handler, priority, args, result, error_kind, error_code, error_message,
       attempts, crashes, retries, pushed_at, due_at, started_at, finished_at, runner_id, claim_id, key, parent
FROM {{schema}}.history WHERE state = 'cancelled';
COMMENT ON VIEW {{schema}}.cancelled IS 'Tasks cancelled by a user or by their handler; error_message contains the reason.';

CREATE OR REPLACE VIEW {{schema}}.tasks AS
SELECT * FROM {{schema}}.scheduled
UNION ALL SELECT * FROM {{schema}}.runnable
UNION ALL SELECT * FROM {{schema}}.running
UNION ALL
SELECT id, state, queue, handler, priority, args, result, error_kind, error_code, error_message,
       attempts, crashes, retries, pushed_at, due_at, started_at, finished_at, runner_id, claim_id, key, parent
FROM {{schema}}.history;
COMMENT ON VIEW {{schema}}.tasks IS 'Every task in its state: the union of scheduled, runnable, running, complete, failed and cancelled. For one task by its id, use get(id): a condition on the id of this view reads all runnable tasks.';

CREATE OR REPLACE VIEW {{schema}}.queue_stats AS
WITH counted AS (
    SELECT queue, count(*) AS scheduled, 0::bigint AS runnable, 0::bigint AS running,
           0::bigint AS complete_hour, 0::bigint AS failed_hour, NULL::timestamptz AS oldest
    FROM {{schema}}.scheduled_tasks GROUP BY queue
    UNION ALL
    SELECT queue, 0, count(*), 0, 0, 0, min(due_at) FROM {{schema}}.runnable_tasks GROUP BY queue
    UNION ALL
    SELECT queue, 0, 0, count(*), 0, 0, NULL FROM {{schema}}.in_flight GROUP BY queue
    UNION ALL
    SELECT queue, 0, 0, 0, count(*) FILTER (WHERE state = 'complete'), count(*) FILTER (WHERE state = 'failed'), NULL
    FROM {{schema}}.history WHERE finished_at > now() - interval '1 hour' GROUP BY queue
    UNION ALL
    SELECT name, 0, 0, 0, 0, 0, NULL FROM {{schema}}.pauses WHERE kind = 'queue'
)
SELECT c.queue, p.paused_at,
       sum(scheduled)::bigint AS scheduled, sum(runnable)::bigint AS runnable, sum(running)::bigint AS running,
       sum(complete_hour)::bigint AS complete_hour, sum(failed_hour)::bigint AS failed_hour,
       extract(epoch FROM now() - min(oldest))::float8 AS oldest_runnable_seconds
FROM counted AS c
LEFT JOIN {{schema}}.pauses AS p ON p.kind = 'queue' AND p.name = c.queue
GROUP BY c.queue, p.paused_at;
COMMENT ON VIEW {{schema}}.queue_stats IS 'Counts for each queue that has tasks, finished one within the last hour, or is paused. Counts everything: do not call it in a loop.';

CREATE OR REPLACE VIEW {{schema}}.live_logs AS
SELECT l.task_id, l.attempt, l.claim_id, l.runner_id, l.seq, l.at, l.level, l.message, l.fields,
       EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = l.claim_id)
       OR EXISTS (SELECT FROM {{schema}}.popped AS p WHERE p.task_id = l.task_id AND p.claim_id = l.claim_id) AS running
FROM {{schema}}.log_lines AS l;
COMMENT ON VIEW {{schema}}.live_logs
    IS 'Log lines of attempts that have run for more than one or two seconds, in the order of (claim_id, seq); a gap in seq is a dropped line. running is false for lines of an attempt whose runner crashed.';

CREATE OR REPLACE VIEW {{schema}}.progress AS
SELECT p.key::bigint AS task_id, (p.value ->> 'claim')::bigint AS claim_id, r.id AS runner_id,
       (p.value ->> 'fraction')::float8 AS fraction, p.value ->> 'message' AS message, r.seen_at
FROM {{schema}}.runners AS r
CROSS JOIN LATERAL json_each(r.progress) AS p
WHERE EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = (p.value ->> 'claim')::bigint AND c.runner_id = r.id)
UNION ALL
SELECT p.task_id, p.claim_id, NULL::bigint, p.fraction, p.message, p.reported_at
FROM {{schema}}.popped AS p WHERE p.reported_at IS NOT NULL;
COMMENT ON VIEW {{schema}}.progress
    IS 'Progress that running tasks report: a fraction from 0 to 1 and a message, as of seen_at. A finished task can stay for some seconds; join running to exclude it.';

CREATE OR REPLACE VIEW {{schema}}.workers AS
WITH session AS (
    SELECT s.name, min(s.role::text) AS role, count(*) AS sessions, max(s.seen_at) AS seen_at,
           ARRAY(SELECT DISTINCT q FROM {{schema}}.worker_sessions AS o, unnest(o.queues) AS q WHERE o.name = s.name ORDER BY q) AS queues
    FROM {{schema}}.worker_sessions AS s GROUP BY s.name
), held AS (
    SELECT p.worker AS name, count(*) AS running, min(p.popped_at) AS oldest, min(p.expires_at) AS next_expiry, max(p.popped_at) AS newest
    FROM {{schema}}.popped AS p GROUP BY p.worker
)
SELECT name, s.role, coalesce(s.sessions, 0) AS sessions, coalesce(s.queues, '{}') AS queues, coalesce(h.running, 0) AS running,
       h.oldest AS oldest_popped_at, h.next_expiry AS next_expires_at, coalesce(s.seen_at, h.newest) AS seen_at
FROM session AS s FULL JOIN held AS h USING (name);
COMMENT ON VIEW {{schema}}.workers
    IS 'External workers by the name that they pass to pop: those that hold tasks, and those that called pop in the last ten minutes.';
