-- Caller: Store::finish, for tasks that return to the queue: retry, snooze, release. A previous
-- statement (finish_hold) locked the claims, so a cancel that committed by then is visible and
-- takes precedence. Rows: the outcomes that came too late, by their index in the arrays.
WITH ended AS MATERIALIZED (
    SELECT *
    FROM unnest($2::text[], $3::text[], $4::integer[], $5::integer[], $6::timestamptz[], $7::text[], $8::bigint[], $9::jsonb[], $10::json[],
                $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::bigint[],
                $20::integer[], $21::integer[], $22::timestamptz[], $23::float8[], $24::float8[],
                $25::bigint[], $26::bigint[], $27::bigint[], $28::bytea[], $29::integer[], $30::float8[])
        WITH ORDINALITY
        AS e ({{carried}},
              claim_id, id, kind, error_code, error_message, error_details, backtrace, logs, logs_dropped,
              attempts, crashes, due_at, since_start, since_end,
              fuel, peak_memory, wall_us, digest, number, delay, ordinal)
), held AS MATERIALIZED (
    SELECT c.id FROM {{schema}}.claims AS c
    WHERE c.id = ANY ($31::bigint[]) AND c.runner_id = $1::bigint
    FOR KEY SHARE
), judged AS MATERIALIZED (
    SELECT e.*, x.task_id IS NOT NULL AS asked,
           CASE WHEN e.delay IS NULL THEN e.due_at ELSE now() + e.delay * interval '1 second' END AS next_at
    FROM ended AS e
    LEFT JOIN {{schema}}.cancellations AS x ON x.claim_id = e.claim_id AND x.task_id = e.id
    WHERE e.claim_id = ANY (ARRAY(SELECT id FROM held))
), cancelled AS (
    INSERT INTO {{schema}}.history
        ({{carried}}, id, state, attempts, crashes, error_code, error_message, error_details,
         backtrace, logs, logs_dropped, due_at, started_at, finished_at,
         fuel, peak_memory, wall_us, digest, runner_id, claim_id)
    SELECT {{carried j}}, j.id, 'cancelled', j.attempts, j.crashes, j.error_code, 'cancelled while it ran', j.error_details::json,
           string_to_array(j.backtrace, E'\n'), j.logs::json, j.logs_dropped, j.due_at,
           now() - j.since_start * interval '1 second', now() - j.since_end * interval '1 second',
           j.fuel, j.peak_memory, j.wall_us, j.digest, $1, j.claim_id
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
    INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
    SELECT {{carried j}}, nextval('{{schema}}.task_ids'), j.id, j.attempts, j.crashes, j.next_at
    FROM judged AS j WHERE NOT j.asked AND j.next_at <= now()
), later AS (
    INSERT INTO {{schema}}.scheduled_tasks ({{carried}}, id, attempts, crashes, run_at)
    SELECT {{carried j}}, j.id, j.attempts, j.crashes, j.next_at
    FROM judged AS j WHERE NOT j.asked AND j.next_at > now()
)
SELECT e.ordinal FROM ended AS e WHERE NOT e.claim_id = ANY (ARRAY(SELECT id FROM held))
