-- Caller: Store::finish, for tasks that come back: retry, snooze, release. The
-- claims were locked by a statement before (finish_hold), so a cancel that
-- committed by then is seen and wins. Rows: the endings that came too late, by
-- their place in the arrays.
WITH ended AS MATERIALIZED (
    SELECT *
    FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::text[],
                $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[],
                $15::integer[], $16::integer[], $17::integer[], $18::timestamptz[], $19::timestamptz[],
                $20::float8[], $21::float8[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bytea[],
                $26::text[], $27::bigint[], $28::integer[], $29::float8[])
        WITH ORDINALITY
        AS e (claim_id, id, kind, queue, handler, priority, args,
              error_code, error_message, error_details, backtrace, logs, logs_dropped,
              attempts, crashes, retries, pushed_at, due_at,
              since_start, since_end, fuel, peak_memory, wall_us, digest,
              key, parent, number, delay, ordinal)
), held AS MATERIALIZED (
    SELECT c.id FROM {{schema}}.claims AS c
    WHERE c.id = ANY ($30::bigint[]) AND c.runner_id = $1::bigint
    FOR KEY SHARE
), judged AS MATERIALIZED (
    SELECT e.*, x.task_id IS NOT NULL AS asked,
           CASE WHEN e.delay IS NULL THEN e.due_at ELSE now() + e.delay * interval '1 second' END AS next_at
    FROM ended AS e
    LEFT JOIN {{schema}}.cancellations AS x ON x.claim_id = e.claim_id AND x.task_id = e.id
    WHERE e.claim_id = ANY (ARRAY(SELECT id FROM held))
), cancelled AS (
    INSERT INTO {{schema}}.history
        (id, state, priority, attempts, crashes, retries, queue, handler, args, error_code, error_message, error_details,
         backtrace, logs, logs_dropped, pushed_at, due_at, started_at, finished_at,
         fuel, peak_memory, wall_us, digest, runner_id, claim_id, key, parent)
    SELECT j.id, 'cancelled', j.priority, j.attempts, j.crashes, j.retries, j.queue, j.handler, j.args::json,
           j.error_code, 'cancelled while it ran', j.error_details::json, string_to_array(j.backtrace, E'\n'),
           j.logs::json, j.logs_dropped, j.pushed_at, j.due_at,
           now() - j.since_start * interval '1 second', now() - j.since_end * interval '1 second',
           j.fuel, j.peak_memory, j.wall_us, j.digest, $1, j.claim_id, j.key, j.parent
    FROM judged AS j WHERE j.asked
), logged AS (
    INSERT INTO {{schema}}.attempts
        (task_id, claim_id, number, kind, error_code, error_message, error_details, backtrace, logs, logs_dropped,
         started_at, ended_at, fuel, peak_memory, wall_us, digest, runner_id)
    SELECT j.id, j.claim_id, j.number, j.kind, j.error_code, j.error_message, j.error_details::json,
           string_to_array(j.backtrace, E'\n'), j.logs::json, j.logs_dropped,
           now() - j.since_start * interval '1 second', now() - j.since_end * interval '1 second',
           j.fuel, j.peak_memory, j.wall_us, j.digest, $1
    FROM judged AS j WHERE NOT j.asked
), soon AS (
    INSERT INTO {{schema}}.runnable_tasks
        (queue, handler, priority, position, id, attempts, crashes, retries, pushed_at, due_at, key, parent, args)
    SELECT j.queue, j.handler, j.priority, nextval('{{schema}}.task_ids'), j.id, j.attempts, j.crashes, j.retries,
           j.pushed_at, j.next_at, j.key, j.parent, j.args::json
    FROM judged AS j WHERE NOT j.asked AND j.next_at <= now()
), later AS (
    INSERT INTO {{schema}}.scheduled_tasks
        (id, queue, handler, priority, attempts, crashes, retries, pushed_at, run_at, key, parent, args)
    SELECT j.id, j.queue, j.handler, j.priority, j.attempts, j.crashes, j.retries, j.pushed_at, j.next_at,
           j.key, j.parent, j.args::json
    FROM judged AS j WHERE NOT j.asked AND j.next_at > now()
)
SELECT e.ordinal FROM ended AS e WHERE NOT e.claim_id = ANY (ARRAY(SELECT id FROM held))
