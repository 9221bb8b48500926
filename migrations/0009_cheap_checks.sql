-- The same rules, told so that they cost less. A counted repetition ({1,128})
-- takes 15 us for a name of eleven letters, the two checks here less than one.
-- Not validated: what is there has passed the same rule in its old words.
-- New is that no time is beyond what programs can read and people can mean.

ALTER TABLE {{schema}}.runnable_tasks
    DROP CONSTRAINT queue_name, DROP CONSTRAINT handler_name,
    ADD CONSTRAINT queue_name CHECK (queue !~ '[^A-Za-z0-9_.:-]' AND octet_length(queue) BETWEEN 1 AND 128) NOT VALID,
    ADD CONSTRAINT handler_name CHECK (handler !~ '[^A-Za-z0-9_.:-]' AND octet_length(handler) BETWEEN 1 AND 128) NOT VALID;
ALTER TABLE {{schema}}.scheduled_tasks
    DROP CONSTRAINT queue_name, DROP CONSTRAINT handler_name,
    ADD CONSTRAINT queue_name CHECK (queue !~ '[^A-Za-z0-9_.:-]' AND octet_length(queue) BETWEEN 1 AND 128) NOT VALID,
    ADD CONSTRAINT handler_name CHECK (handler !~ '[^A-Za-z0-9_.:-]' AND octet_length(handler) BETWEEN 1 AND 128) NOT VALID;

ALTER TABLE {{schema}}.scheduled_tasks
    DROP CONSTRAINT run_at_finite,
    ADD CONSTRAINT run_at_sane CHECK (isfinite(run_at) AND run_at < '9000-01-01 00:00:00+00') NOT VALID;
ALTER TABLE {{schema}}.claims
    ADD CONSTRAINT expires_at_sane CHECK (isfinite(expires_at) AND expires_at < '9000-01-01 00:00:00+00') NOT VALID;

CREATE OR REPLACE FUNCTION {{schema}}.check_task(handler text, args text, queue text, delay interval, run_at timestamptz, retries integer, key text)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF handler IS NULL OR handler ~ '[^A-Za-z0-9_.:-]' OR octet_length(handler) NOT BETWEEN 1 AND 128 THEN
        RAISE EXCEPTION 'handler % is not a name', coalesce(quote_literal(left(handler, 140)), 'null')
            USING ERRCODE = '22023', HINT = '1 to 128 of the characters A-Z a-z 0-9 _ . : - are allowed';
    ELSIF queue IS NULL OR queue ~ '[^A-Za-z0-9_.:-]' OR octet_length(queue) NOT BETWEEN 1 AND 128 THEN
        RAISE EXCEPTION 'queue % is not a name', coalesce(quote_literal(left(queue, 140)), 'null')
            USING ERRCODE = '22023', HINT = '1 to 128 of the characters A-Z a-z 0-9 _ . : - are allowed';
    ELSIF args IS NULL THEN
        RAISE EXCEPTION 'the arguments are null'
            USING ERRCODE = '22004', HINT = 'write ''{}'' for no arguments, or ''null'' for the JSON value';
    ELSIF octet_length(args) > 1048576 THEN
        RAISE EXCEPTION 'the arguments have % bytes, at most 1048576 are allowed', octet_length(args)
            USING ERRCODE = '22023', HINT = 'store the data elsewhere and push a reference to it';
    ELSIF delay < interval '0' THEN
        RAISE EXCEPTION 'the delay % is negative', delay
            USING ERRCODE = '22023', HINT = 'leave the delay out to run at once';
    ELSIF delay IS NOT NULL AND run_at IS NOT NULL THEN
        RAISE EXCEPTION 'both delay and run_at are given'
            USING ERRCODE = '22023', HINT = 'give one of them';
    ELSIF NOT isfinite(run_at) THEN
        RAISE EXCEPTION 'run_at is infinite'
            USING ERRCODE = '22023', HINT = 'give a moment in time';
    -- Cut first, because the sum would overflow; and no interval is compared, of which a year has 360 days.
    ELSIF (run_at IS NOT NULL OR delay IS NOT NULL)
        AND coalesce(run_at, now() + least(delay, interval '1000 years')) > now() + interval '100 years'
    THEN
        RAISE EXCEPTION 'the task would not run for a century'
            USING ERRCODE = '22023', HINT = 'give a delay or run_at within 100 years';
    ELSIF retries < -1 THEN
        RAISE EXCEPTION 'retries is %', retries
            USING ERRCODE = '22023', HINT = 'give 0 or more, -1 for ever, or leave it out for the handler''s policy';
    ELSIF octet_length(key) NOT BETWEEN 1 AND 512 THEN
        RAISE EXCEPTION 'the key has % bytes, 1 to 512 are allowed', octet_length(key)
            USING ERRCODE = '22023', HINT = 'use a short key, for example a hash of a long one';
    END IF;
END $$;

-- As before, but what is no object is refused in words.
CREATE OR REPLACE FUNCTION {{schema}}.push_many(tasks json) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    stranger text;
BEGIN
    IF json_typeof(tasks) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'the tasks are not a JSON array'
            USING ERRCODE = '22023', HINT = 'write [{"handler": "name", "args": {}}, ...]';
    END IF;
    IF EXISTS (SELECT FROM json_array_elements(tasks) AS t (task) WHERE json_typeof(t.task) <> 'object') THEN
        RAISE EXCEPTION 'not every task is a JSON object'
            USING ERRCODE = '22023', HINT = 'write [{"handler": "name", "args": {}}, ...]';
    END IF;
    SELECT f.name INTO stranger
    FROM json_array_elements(tasks) AS t (task), json_object_keys(t.task) AS f (name)
    WHERE f.name NOT IN ('handler', 'args', 'queue', 'priority', 'delay', 'run_at', 'retries', 'key') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'a task has the unknown field %', quote_literal(stranger)
            USING ERRCODE = '22023', HINT = 'known are handler, args, queue, priority, delay, run_at, retries, key';
    END IF;
    PERFORM {{schema}}.check_task(t.handler, coalesce(t.args::text, '{}'), coalesce(t.queue, 'default'), t.delay, t.run_at, t.retries, t.key)
    FROM json_to_recordset(tasks)
        AS t (handler text, args json, queue text, delay interval, run_at timestamptz, retries integer, key text);
    RETURN QUERY
        SELECT p.id
        FROM (
            SELECT array_agg(t.handler) AS handlers, array_agg(coalesce(t.args::text, '{}')) AS args,
                   array_agg(coalesce(t.queue, 'default')) AS queues, array_agg(coalesce(t.priority, 0)) AS priorities,
                   array_agg(t.delay) AS delays, array_agg(t.run_at) AS run_ats, array_agg(t.retries) AS retries,
                   array_agg(t.key) AS keys, array_agg(NULL::bigint) AS parents
            FROM json_to_recordset(tasks)
                AS t (handler text, args json, queue text, priority integer, delay interval, run_at timestamptz, retries integer, key text)
            HAVING count(*) > 0
        ) AS a,
        LATERAL {{schema}}.push_rows(a.handlers, a.args, a.queues, a.priorities, a.delays, a.run_ats, a.retries, a.keys, a.parents) AS p;
END $$;

-- As before, but a lease has an end that somebody lives to see: no history is
-- pruned while its claim lives.
CREATE OR REPLACE FUNCTION {{schema}}.pop(queue text DEFAULT 'default', n integer DEFAULT 1, handlers text[] DEFAULT NULL,
    lease interval DEFAULT '5 minutes')
RETURNS TABLE (id bigint, claim_id bigint, handler text, args json, attempt integer, priority integer,
    pushed_at timestamptz, due_at timestamptz, key text, expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    claim bigint;
BEGIN
    IF pop.n IS NULL OR pop.n NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'n is %', coalesce(pop.n::text, 'null') USING ERRCODE = '22023', HINT = 'pop 1 to 10000 tasks';
    ELSIF pop.lease IS NULL OR pop.lease <= interval '0' THEN
        RAISE EXCEPTION 'the lease % is not positive', coalesce(pop.lease::text, 'null')
            USING ERRCODE = '22023', HINT = 'give the time that the worker needs, for example interval ''5 minutes''';
    ELSIF pop.lease > interval '30 days' THEN
        RAISE EXCEPTION 'the lease % is longer than 30 days', pop.lease
            USING ERRCODE = '22023', HINT = 'give the time that the worker needs, and renew it with extend';
    END IF;
    -- External workers alone must be enough to keep a queue going.
    PERFORM {{schema}}.promote();
    PERFORM {{schema}}.rescue(orphans => false);
    IF EXISTS (SELECT FROM {{schema}}.pauses AS p WHERE p.kind = 'queue' AND p.name = pop.queue) THEN
        RETURN;
    END IF;

    WITH RECURSIVE lane AS (
        (SELECT r.handler, r.priority FROM {{schema}}.runnable_tasks AS r WHERE r.queue = pop.queue
         ORDER BY r.queue, r.handler, r.priority LIMIT 1)
        UNION ALL
        SELECT next.* FROM lane AS l CROSS JOIN LATERAL (
            SELECT r.handler, r.priority FROM {{schema}}.runnable_tasks AS r
            WHERE r.queue = pop.queue AND (r.handler, r.priority) > (l.handler, l.priority)
            ORDER BY r.queue, r.handler, r.priority LIMIT 1) AS next
    ), urgent AS MATERIALIZED (
        SELECT l.* FROM lane AS l
        WHERE (pop.handlers IS NULL OR l.handler = ANY (pop.handlers))
          AND NOT EXISTS (SELECT FROM {{schema}}.pauses AS p WHERE p.kind = 'handler' AND p.name = l.handler)
        ORDER BY l.priority, l.handler
    ), picked AS MATERIALIZED (
        SELECT one.ctid FROM urgent AS u CROSS JOIN LATERAL (
            SELECT r.ctid FROM {{schema}}.runnable_tasks AS r
            WHERE r.queue = pop.queue AND r.handler = u.handler AND r.priority = u.priority
            ORDER BY r.position LIMIT pop.n FOR UPDATE SKIP LOCKED) AS one
        LIMIT pop.n
    ), gone AS (
        DELETE FROM {{schema}}.runnable_tasks AS r WHERE r.ctid = ANY (ARRAY(SELECT ctid FROM picked)) RETURNING r.*
    )
    INSERT INTO {{schema}}.claims
        (id, expires_at, task_ids, queues, handlers, priorities, attempts, crashes, retries, pushed_at, due_at, keys, parents, args)
    SELECT nextval('{{schema}}.claim_ids'), clock_timestamp() + pop.lease, array_agg(g.id), array_agg(g.queue), array_agg(g.handler),
           array_agg(g.priority), array_agg(g.attempts), array_agg(g.crashes), array_agg(g.retries), array_agg(g.pushed_at),
           array_agg(g.due_at), array_agg(g.key), array_agg(g.parent), array_agg(g.args)
    FROM (SELECT * FROM gone ORDER BY priority, position) AS g
    HAVING count(*) > 0
    RETURNING claims.id INTO claim;

    RETURN QUERY
        SELECT u.id, u.claim_id, u.handler::text, u.args, u.attempts + 1, u.priority, u.pushed_at, u.due_at, u.key::text, u.expires_at
        FROM {{schema}}.unended AS u WHERE u.claim_id = claim;
END $$;

CREATE OR REPLACE FUNCTION {{schema}}.extend(claim bigint, lease interval DEFAULT '5 minutes') RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF extend.lease IS NULL OR extend.lease <= interval '0' THEN
        RAISE EXCEPTION 'the lease % is not positive', coalesce(extend.lease::text, 'null')
            USING ERRCODE = '22023', HINT = 'give the time that the worker still needs';
    ELSIF extend.lease > interval '30 days' THEN
        RAISE EXCEPTION 'the lease % is longer than 30 days', extend.lease
            USING ERRCODE = '22023', HINT = 'give the time that the worker needs, and renew it again';
    END IF;
    UPDATE {{schema}}.claims AS c SET expires_at = clock_timestamp() + extend.lease
    WHERE c.id = extend.claim AND c.expires_at IS NOT NULL;
    RETURN FOUND;
END $$;

-- As before, but no retry waits longer than a century.
CREATE OR REPLACE FUNCTION {{schema}}.fail(id bigint, claim bigint, message text, retry_in interval DEFAULT NULL, fatal boolean DEFAULT false)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    task record;
    asked boolean;
    due timestamptz;
BEGIN
    IF fail.retry_in < interval '0' THEN
        RAISE EXCEPTION 'retry_in % is negative', fail.retry_in
            USING ERRCODE = '22023', HINT = 'leave it out for a growing delay';
    ELSIF now() + least(coalesce(fail.retry_in, '0'), interval '1000 years') > now() + interval '100 years' THEN
        RAISE EXCEPTION 'the task would not be retried for a century'
            USING ERRCODE = '22023', HINT = 'give a retry_in within 100 years, or fatal => true';
    END IF;
    PERFORM FROM {{schema}}.claims AS c WHERE c.id = fail.claim AND c.runner_id IS NULL FOR UPDATE;
    SELECT u.* INTO task FROM {{schema}}.unended AS u
    WHERE u.claim_id = fail.claim AND u.id = fail.id AND u.runner_id IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    asked := EXISTS (SELECT FROM {{schema}}.cancellations AS x WHERE x.claim_id = fail.claim AND x.task_id = fail.id);

    IF asked OR fail.fatal OR coalesce(task.retries, 20) BETWEEN 0 AND task.attempts THEN
        INSERT INTO {{schema}}.history
            (id, state, priority, attempts, crashes, retries, queue, handler, args, error_kind, error_message,
             pushed_at, due_at, started_at, claim_id, key, parent)
        VALUES (task.id, CASE WHEN asked THEN 'cancelled' ELSE 'failed' END, task.priority, task.attempts + 1, task.crashes,
                task.retries, task.queue, task.handler, task.args, CASE WHEN asked THEN NULL ELSE 'error' END,
                left(fail.message, 65536), task.pushed_at, task.due_at, task.claimed_at, task.claim_id, task.key, task.parent);
    ELSE
        -- The default policy: from a second to an hour, half of it random.
        due := now() + coalesce(fail.retry_in,
            least(power(2, least(task.attempts, 20)), 3600) * (0.5 + random() / 2) * interval '1 second');
        INSERT INTO {{schema}}.attempts (task_id, claim_id, number, kind, error_message, started_at)
        VALUES (task.id, task.claim_id, task.attempts + 1, 'error', left(fail.message, 65536), task.claimed_at);
        IF due <= now() THEN
            INSERT INTO {{schema}}.runnable_tasks
                (queue, handler, priority, position, id, attempts, crashes, retries, pushed_at, due_at, key, parent, args)
            VALUES (task.queue, task.handler, task.priority, nextval('{{schema}}.task_ids'), task.id, task.attempts + 1,
                    task.crashes, task.retries, task.pushed_at, due, task.key, task.parent, task.args);
        ELSE
            INSERT INTO {{schema}}.scheduled_tasks
                (id, queue, handler, priority, attempts, crashes, retries, pushed_at, run_at, key, parent, args)
            VALUES (task.id, task.queue, task.handler, task.priority, task.attempts + 1, task.crashes, task.retries,
                    task.pushed_at, due, task.key, task.parent, task.args);
        END IF;
    END IF;
    PERFORM {{schema}}.close_claim(fail.claim, fail.id);
    RETURN true;
END $$;

-- A claim's arrays are written once and gone in a moment: the quicker compression,
-- where the server was built with it.
DO $$ BEGIN
    ALTER TABLE {{schema}}.claims
        ALTER COLUMN task_ids SET COMPRESSION lz4, ALTER COLUMN queues SET COMPRESSION lz4, ALTER COLUMN handlers SET COMPRESSION lz4,
        ALTER COLUMN priorities SET COMPRESSION lz4, ALTER COLUMN attempts SET COMPRESSION lz4, ALTER COLUMN crashes SET COMPRESSION lz4,
        ALTER COLUMN retries SET COMPRESSION lz4, ALTER COLUMN pushed_at SET COMPRESSION lz4, ALTER COLUMN due_at SET COMPRESSION lz4,
        ALTER COLUMN keys SET COMPRESSION lz4, ALTER COLUMN parents SET COMPRESSION lz4, ALTER COLUMN args SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;
