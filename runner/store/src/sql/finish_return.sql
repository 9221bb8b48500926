-- Caller: Store::finish, for tasks that return to the queue: retry, snooze, release. A previous
-- statement (finish_hold) locked the claims, so a cancel that committed by then is visible and
-- takes precedence. Rows: the outcomes that came too late, by their index in the arrays.
WITH ended AS MATERIALIZED (
    SELECT *
    FROM unnest($3::text[], $4::integer[], $5::float8[], {{returned.bound 6}}) WITH ORDINALITY
        AS e (kind, number, delay, {{returned.names}}, ordinal)
), held AS MATERIALIZED (
    SELECT c.id FROM {{schema}}.claims AS c
    WHERE c.id = ANY ($2::bigint[]) AND c.runner_id = $1::bigint
    FOR KEY SHARE
), judged AS MATERIALIZED (
    SELECT e.*, x.task_id IS NOT NULL AS asked,
           CASE WHEN e.delay IS NULL THEN e.due_at ELSE now() + e.delay * interval '1 second' END AS next_at
    FROM ended AS e
    LEFT JOIN {{schema}}.cancellations AS x ON x.claim_id = e.claim_id AND x.task_id = e.id
    WHERE e.claim_id = ANY (ARRAY(SELECT id FROM held))
), cancelled AS (
    INSERT INTO {{schema}}.history (state, error_message, {{cancelled.columns}}, runner_id)
    SELECT 'cancelled', 'cancelled while it ran', {{cancelled.values j}}, $1
    FROM judged AS j WHERE j.asked
), logged AS (
    INSERT INTO {{schema}}.attempts
        (task_id, claim_id, number, kind, started_at, ended_at, {{attempt.columns}}, runner_id)
    SELECT j.id, j.claim_id, j.number, j.kind,
           now() - j.since_start * interval '1 second', now() - j.since_end * interval '1 second', {{attempt.values j}}, $1
    FROM judged AS j WHERE NOT j.asked
), soon AS (
    INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
    SELECT {{carried j}}, nextval('{{schema}}.task_ids'), j.id, j.attempts, j.crashes, j.next_at
    FROM judged AS j WHERE NOT j.asked AND j.next_at <= now()
), later AS (
    INSERT INTO {{schema}}.scheduled_tasks ({{carried}}, id, attempts, crashes, run_at)
    SELECT {{carried j}}, j.id, j.attempts, j.crashes, j.next_at
    FROM judged AS j WHERE NOT j.asked AND j.next_at > now()
)
SELECT e.ordinal FROM ended AS e WHERE NOT e.claim_id = ANY (ARRAY(SELECT id FROM held))
