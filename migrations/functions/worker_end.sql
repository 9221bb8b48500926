-- The API for workers, part two: functions for the holder of a popped task, who passes
-- its token.

-- The log of an attempt as it is stored: beyond 1 MiB, its first and last half.
CREATE OR REPLACE FUNCTION {{schema}}.take_log(task bigint, claim bigint, log_seq bigint, OUT logs json, OUT dropped bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH gone AS (
        DELETE FROM {{schema}}.log_lines AS l WHERE l.task_id = take_log.task AND l.claim_id = take_log.claim RETURNING l.*
    ), line AS (
        SELECT g.seq, CASE WHEN g.fields IS NULL THEN json_build_object('at_ms', g.at_ms, 'level', g.level, 'message', g.message)
                           ELSE json_build_object('at_ms', g.at_ms, 'level', g.level, 'message', g.message, 'fields', g.fields) END AS line
        FROM gone AS g
    ), sized AS (
        SELECT l.*, sum(octet_length(l.line::text)) OVER (ORDER BY l.seq) AS up, sum(octet_length(l.line::text)) OVER (ORDER BY l.seq DESC) AS down
        FROM line AS l
    ), kept AS (
        SELECT s.* FROM sized AS s WHERE s.up <= 524288 OR s.down <= 524288
    ), numbered AS (
        SELECT k.seq, k.line, k.seq - lag(k.seq, 1, -1::bigint) OVER (ORDER BY k.seq) - 1 AS missing FROM kept AS k
    ), element AS (
        SELECT n.seq, 1 AS part, n.line FROM numbered AS n
        UNION ALL
        SELECT n.seq, 0, json_build_object('dropped', n.missing) FROM numbered AS n WHERE n.missing > 0
    )
    SELECT json_agg(e.line ORDER BY e.seq, e.part), take_log.log_seq - count(*) FILTER (WHERE e.part = 1)
    INTO logs, dropped FROM element AS e;
END $$;
COMMENT ON FUNCTION {{schema}}.take_log(bigint, bigint, bigint) IS 'Deletes the log lines of an attempt and returns them as they are stored with it. For complete, fail and release.';

CREATE OR REPLACE FUNCTION {{schema}}.complete_many(ids bigint[], tokens uuid[], results anycompatiblearray DEFAULT NULL::json[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    large record;
    texts text[] := results::text[];
BEGIN
    -- array_agg over an empty pop returns null.
    IF ids IS NULL AND tokens IS NULL THEN
        RETURN;
    ELSIF (cardinality(ids) = cardinality(tokens) AND coalesce(cardinality(texts), cardinality(ids)) = cardinality(ids)) IS NOT TRUE THEN
        RAISE EXCEPTION 'the arrays do not describe the same tasks'
            USING ERRCODE = '22023', HINT = 'give arrays of one length: ids, tokens and, if there are any, results';
    END IF;
    SELECT octet_length(t.result) AS bytes INTO large FROM unnest(texts) AS t (result) WHERE octet_length(t.result) > 1048576 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the result has % bytes, at most 1048576 are allowed', large.bytes
            USING ERRCODE = '22023', HINT = 'store the data elsewhere and return a reference to it';
    END IF;
    -- In the order of ids, like extend_many, so that two sessions of one worker do not
    -- deadlock.
    PERFORM FROM {{schema}}.popped AS p WHERE p.task_id = ANY (ids) AND p.token = ANY (tokens) ORDER BY p.task_id FOR UPDATE;
    RETURN QUERY
        WITH gone AS (
            DELETE FROM {{schema}}.popped AS p
            USING (SELECT unnest(ids) AS id, unnest(tokens) AS token, unnest(texts) AS result) AS e
            WHERE p.task_id = e.id AND p.token = e.token
            RETURNING p.*, e.result
        ), answered AS (
            DELETE FROM {{schema}}.cancellations AS x USING gone AS g WHERE x.claim_id = g.claim_id AND x.task_id = g.task_id
        )
        INSERT INTO {{schema}}.history AS h
            ({{carried}}, id, state, attempts, crashes, result, logs, logs_dropped, due_at, started_at, finished_at, claim_id)
        SELECT {{carried g}}, g.task_id, 'complete', g.attempts + 1, g.crashes, coalesce(g.result, 'null')::json, l.logs, coalesce(l.dropped, 0),
               g.due_at, g.popped_at, clock_timestamp(), g.claim_id
        FROM gone AS g LEFT JOIN LATERAL {{schema}}.take_log(g.task_id, g.claim_id, g.log_seq) AS l ON g.log_seq > 0
        RETURNING h.id;
END $$;
COMMENT ON FUNCTION {{schema}}.complete_many(bigint[], uuid[], anycompatiblearray)
    IS 'Completes popped tasks with their results (text, json or jsonb). Returns the ids of the completed tasks; the others are no longer held with these tokens.';

CREATE OR REPLACE FUNCTION {{schema}}.complete(id bigint, token uuid, result anycompatible DEFAULT NULL::json) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM {{schema}}.complete_many(ARRAY[id], ARRAY[token], ARRAY[result::text]));
END $$;
COMMENT ON FUNCTION {{schema}}.complete(bigint, uuid, anycompatible)
    IS 'Completes a popped task with a result (text, json or jsonb). False: the task is no longer held with this token (the lease expired, or the attempt has ended), and nothing changed.';

-- The default policy: from a second to an hour, half of it random.
CREATE OR REPLACE FUNCTION {{schema}}.retry_delay(attempts integer) RETURNS interval
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(power(2, least(attempts, 20)), 3600) * (0.5 + random() / 2) * interval '1 second'
$$;
COMMENT ON FUNCTION {{schema}}.retry_delay(integer) IS 'How long a worker''s failed task waits before its next attempt. For fail.';

CREATE OR REPLACE FUNCTION {{schema}}.check_delay(name text, delay interval) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF delay < interval '0' THEN
        RAISE EXCEPTION '% % is negative', name, delay USING ERRCODE = '22023', HINT = 'leave it out for the default';
    ELSIF now() + least(coalesce(delay, '0'), interval '1000 years') > now() + interval '100 years' THEN
        RAISE EXCEPTION 'the task would not be retried for a century'
            USING ERRCODE = '22023', HINT = format('give a %s within 100 years', name);
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.check_delay(text, interval) IS 'Rejects a delay that is negative or too long. For fail and release.';

CREATE OR REPLACE FUNCTION {{schema}}.fail_many(ids bigint[], tokens uuid[], messages text[], retry_in interval DEFAULT NULL, fatal boolean DEFAULT false,
    codes text[] DEFAULT NULL, details anycompatiblearray DEFAULT NULL::json[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    n integer := cardinality(ids);
    texts text[] := details::text[];
    moved bigint[];
    woken text[];
BEGIN
    IF ids IS NULL AND tokens IS NULL THEN
        RETURN;
    ELSIF (cardinality(tokens) = n AND cardinality(messages) = n AND coalesce(cardinality(codes), n) = n
        AND coalesce(cardinality(texts), n) = n) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'the arrays do not describe the same tasks'
            USING ERRCODE = '22023', HINT = 'give arrays of one length: ids, tokens, messages and, if there are any, codes and details';
    ELSIF EXISTS (SELECT FROM unnest(texts) AS t (detail) WHERE octet_length(t.detail) > 1048576) THEN
        RAISE EXCEPTION 'the details have more than 1048576 bytes' USING ERRCODE = '22023', HINT = 'store the data elsewhere and return a reference to it';
    ELSIF EXISTS (SELECT FROM unnest(codes) AS t (code) WHERE octet_length(t.code) > 128) THEN
        RAISE EXCEPTION 'the code has more than 128 bytes' USING ERRCODE = '22023', HINT = 'use a short code, and put the rest into the message or the details';
    END IF;
    PERFORM {{schema}}.check_delay('retry_in', fail_many.retry_in);
    PERFORM FROM {{schema}}.popped AS p WHERE p.task_id = ANY (ids) AND p.token = ANY (tokens) ORDER BY p.task_id FOR UPDATE;
    WITH gone AS MATERIALIZED (
        DELETE FROM {{schema}}.popped AS p
        USING (SELECT unnest(ids) AS id, unnest(tokens) AS token, unnest(messages) AS error, unnest(codes) AS code, unnest(texts) AS detail) AS e
        WHERE p.task_id = e.id AND p.token = e.token
        RETURNING p.*, left(e.error, 65536) AS error, e.code, e.detail
    ), answered AS (
        DELETE FROM {{schema}}.cancellations AS x USING gone AS g WHERE x.claim_id = g.claim_id AND x.task_id = g.task_id
        RETURNING x.task_id
    ), judged AS MATERIALIZED (
        SELECT g.*, a.task_id IS NOT NULL AS asked,
               a.task_id IS NULL AND NOT coalesce(fail_many.fatal, false) AND NOT coalesce(g.retries, 20) BETWEEN 0 AND g.attempts AS again,
               now() + coalesce(fail_many.retry_in, {{schema}}.retry_delay(g.attempts)) AS due, l.logs, coalesce(l.dropped, 0) AS dropped
        FROM gone AS g
        LEFT JOIN answered AS a ON a.task_id = g.task_id
        LEFT JOIN LATERAL {{schema}}.take_log(g.task_id, g.claim_id, g.log_seq) AS l ON g.log_seq > 0
    ), ended AS (
        INSERT INTO {{schema}}.history
            ({{carried}}, id, state, attempts, crashes, error_kind, error_code, error_message, error_details, logs, logs_dropped, due_at, started_at,
             finished_at, claim_id)
        SELECT {{carried j}}, j.task_id, CASE WHEN j.asked THEN 'cancelled' ELSE 'failed' END, j.attempts + 1, j.crashes,
               CASE WHEN NOT j.asked THEN 'error' END, j.code, j.error, j.detail::json, j.logs, j.dropped, j.due_at, j.popped_at, clock_timestamp(),
               j.claim_id
        FROM judged AS j WHERE NOT j.again
    ), logged AS (
        INSERT INTO {{schema}}.attempts
            (task_id, claim_id, number, kind, error_code, error_message, error_details, logs, logs_dropped, started_at, ended_at)
        SELECT j.task_id, j.claim_id, j.attempts + 1, 'error', j.code, j.error, j.detail::json, j.logs, j.dropped, j.popped_at, clock_timestamp()
        FROM judged AS j WHERE j.again
    ), at_once AS (
        INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
        SELECT {{carried j}}, nextval('{{schema}}.task_ids'), j.task_id, j.attempts + 1, j.crashes, j.due
        FROM judged AS j WHERE j.again AND j.due <= now()
        RETURNING queue
    ), later AS (
        INSERT INTO {{schema}}.scheduled_tasks ({{carried}}, id, attempts, crashes, run_at)
        SELECT {{carried j}}, j.task_id, j.attempts + 1, j.crashes, j.due
        FROM judged AS j WHERE j.again AND j.due > now()
    )
    SELECT array_agg(j.task_id), (SELECT array_agg(DISTINCT o.queue) FROM at_once AS o) INTO moved, woken FROM judged AS j;
    IF woken IS NOT NULL THEN
        PERFORM {{schema}}.wake(woken);
    END IF;
    RETURN QUERY SELECT unnest(moved);
END $$;
COMMENT ON FUNCTION {{schema}}.fail_many(bigint[], uuid[], text[], interval, boolean, text[], anycompatiblearray)
    IS 'Like fail, for many tasks. Returns the ids of tasks whose attempt it ended; the others are no longer held with these tokens.';

CREATE OR REPLACE FUNCTION {{schema}}.fail(id bigint, token uuid, message text, retry_in interval DEFAULT NULL, fatal boolean DEFAULT false,
    code text DEFAULT NULL, details anycompatible DEFAULT NULL::json) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM {{schema}}.fail_many(ARRAY[id], ARRAY[token], ARRAY[message], retry_in, fatal, ARRAY[code], ARRAY[details::text]));
END $$;
COMMENT ON FUNCTION {{schema}}.fail(bigint, uuid, text, interval, boolean, text, anycompatible)
    IS 'Ends an attempt of a popped task with an error: the task is retried (after retry_in, or a growing delay) while retries are left, unless fatal. False: the task is no longer held with this token, and nothing changed.';

CREATE OR REPLACE FUNCTION {{schema}}.release(id bigint, token uuid, delay interval DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    task {{schema}}.popped;
    due timestamptz := now() + release.delay;
    log record;
BEGIN
    PERFORM {{schema}}.check_delay('delay', release.delay);
    DELETE FROM {{schema}}.popped AS p WHERE p.task_id = release.id AND p.token = release.token RETURNING p.* INTO task;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF task.log_seq > 0 THEN
        log := {{schema}}.take_log(task.task_id, task.claim_id, task.log_seq);
    END IF;
    DELETE FROM {{schema}}.cancellations AS x WHERE x.claim_id = task.claim_id AND x.task_id = task.task_id;
    IF FOUND THEN
        INSERT INTO {{schema}}.history ({{carried}}, id, state, attempts, crashes, error_message, due_at, started_at, claim_id)
        VALUES ({{carried task}}, task.task_id, 'cancelled', task.attempts, task.crashes, 'cancelled while a worker held it', task.due_at,
                task.popped_at, task.claim_id);
    ELSE
        IF task.log_seq > 0 THEN
            INSERT INTO {{schema}}.attempts (task_id, claim_id, number, kind, logs, logs_dropped, started_at)
            VALUES (task.task_id, task.claim_id, task.attempts + 1, 'release', log.logs, log.dropped, task.popped_at);
        END IF;
        IF due > now() THEN
            INSERT INTO {{schema}}.scheduled_tasks ({{carried}}, id, attempts, crashes, run_at)
            VALUES ({{carried task}}, task.task_id, task.attempts, task.crashes, due);
        ELSE
            INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
            VALUES ({{carried task}}, nextval('{{schema}}.task_ids'), task.task_id, task.attempts, task.crashes, task.due_at);
            PERFORM {{schema}}.wake(ARRAY[task.queue]);
        END IF;
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION {{schema}}.release(bigint, uuid, interval)
    IS 'Releases a popped task without using an attempt, to run at once or after the delay. False: the task is no longer held with this token, and nothing changed.';

CREATE OR REPLACE FUNCTION {{schema}}.extend_many(ids bigint[], tokens uuid[], lease interval DEFAULT '5 minutes')
RETURNS TABLE (id bigint, held boolean, cancel_requested boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM {{schema}}.check_lease(extend_many.lease);
    IF cardinality(ids) IS DISTINCT FROM cardinality(tokens) THEN
        RAISE EXCEPTION 'the arrays do not describe the same tasks' USING ERRCODE = '22023', HINT = 'give a token for each id';
    END IF;
    -- Does not wait for a row that another transaction has locked, perhaps to complete the
    -- task: the lease is neither renewed nor, by tend, taken back until that transaction
    -- ends.
    RETURN QUERY
        WITH e AS MATERIALIZED (
            SELECT unnest(ids) AS id, unnest(tokens) AS token
        ), free AS MATERIALIZED (
            SELECT p.task_id FROM {{schema}}.popped AS p
            WHERE p.task_id = ANY (ids) AND p.token = ANY (tokens) ORDER BY p.task_id FOR UPDATE SKIP LOCKED
        ), renewed AS (
            UPDATE {{schema}}.popped AS p SET expires_at = clock_timestamp() + extend_many.lease
            FROM e WHERE p.task_id = e.id AND p.token = e.token AND p.task_id = ANY (ARRAY(SELECT f.task_id FROM free AS f))
        )
        SELECT e.id, p.task_id IS NOT NULL,
               EXISTS (SELECT FROM {{schema}}.cancellations AS x WHERE x.claim_id = p.claim_id AND x.task_id = p.task_id)
        FROM e LEFT JOIN {{schema}}.popped AS p ON p.task_id = e.id AND p.token = e.token;
END $$;
COMMENT ON FUNCTION {{schema}}.extend_many(bigint[], uuid[], interval)
    IS 'Renews the leases of popped tasks, counted from now. Returns for each whether it is still held (if not, stop working on it), and whether a cancel was requested. A task whose row another transaction has locked is held, and its lease is not renewed.';

CREATE OR REPLACE FUNCTION {{schema}}.extend(id bigint, token uuid, lease interval DEFAULT '5 minutes', OUT held boolean, OUT cancel_requested boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT e.held, e.cancel_requested INTO held, cancel_requested
    FROM {{schema}}.extend_many(ARRAY[extend.id], ARRAY[extend.token], extend.lease) AS e;
END $$;
COMMENT ON FUNCTION {{schema}}.extend(bigint, uuid, interval)
    IS 'Renews the lease of a popped task, counted from now. held is false if the task is no longer held with this token: stop working on it. cancel_requested: end the attempt soon, with fail or complete.';

CREATE OR REPLACE FUNCTION {{schema}}.progress(id bigint, token uuid, fraction float8, message text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF progress.fraction IS NULL OR NOT progress.fraction BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'invalid fraction: %', coalesce(progress.fraction::text, 'null') USING ERRCODE = '22023', HINT = 'give a number from 0 to 1';
    END IF;
    UPDATE {{schema}}.popped AS p
    SET fraction = progress.fraction, message = left(progress.message, 1024), reported_at = clock_timestamp()
    WHERE p.task_id = progress.id AND p.token = progress.token;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION {{schema}}.progress(bigint, uuid, float8, text)
    IS 'Reports the progress of a popped task, from 0 to 1, with a short message: the view progress shows it. False: the task is no longer held with this token.';

-- At most 1,000 lines per attempt: the first 500 and the newest 500.
CREATE OR REPLACE FUNCTION {{schema}}.log(id bigint, token uuid, message text, level text DEFAULT 'info', fields anycompatible DEFAULT NULL::json) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    task {{schema}}.popped;
BEGIN
    IF log.message IS NULL THEN
        RAISE EXCEPTION 'the message is null' USING ERRCODE = '22004', HINT = 'give a text';
    ELSIF log.level IS NULL OR log.level NOT IN ('debug', 'info', 'warn', 'error') THEN
        RAISE EXCEPTION 'invalid log level: %', coalesce(quote_literal(left(log.level, 60)), 'null') USING ERRCODE = '22023', HINT = 'it is one of debug, info, warn, error';
    ELSIF octet_length(log.fields::text) > 8192 THEN
        RAISE EXCEPTION 'the fields have % bytes, at most 8192 are allowed', octet_length(log.fields::text) USING ERRCODE = '22023', HINT = 'log fewer or shorter fields';
    END IF;
    UPDATE {{schema}}.popped AS p SET log_seq = p.log_seq + 1 WHERE p.task_id = log.id AND p.token = log.token RETURNING p.* INTO task;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO {{schema}}.log_lines (task_id, claim_id, seq, attempt, at, at_ms, level, message, fields)
    VALUES (task.task_id, task.claim_id, task.log_seq - 1, task.attempts + 1, clock_timestamp(),
            greatest(0, extract(epoch FROM clock_timestamp() - task.popped_at) * 1000)::bigint, log.level, left(log.message, 8192), log.fields::text::json);
    IF task.log_seq > 1000 THEN
        DELETE FROM {{schema}}.log_lines AS l
        WHERE l.task_id = task.task_id AND l.claim_id = task.claim_id AND l.seq = task.log_seq - 501;
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION {{schema}}.log(bigint, uuid, text, text, anycompatible)
    IS 'Adds a line to the log of a popped task: live_logs shows it now, and it is stored with the attempt. False: the task is no longer held with this token.';
