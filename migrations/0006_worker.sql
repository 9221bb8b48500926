-- The API of workers in any language: pop, complete, fail, extend.

-- For functions that look for a task in several tables, each with a new snapshot.
-- What changes one row needs no such check: two of them conflict with 40001.
CREATE FUNCTION {{schema}}.need_read_committed(what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'cannot % at isolation level %', what, current_setting('transaction_isolation')
            USING ERRCODE = '25001', HINT = 'call it in a transaction of its own: BEGIN ISOLATION LEVEL READ COMMITTED';
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.need_read_committed(text) IS 'Refuses a snapshot that hides what others have committed. For the other functions.';

CREATE FUNCTION {{schema}}.hold_claim(claim bigint, ending boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    worker name;
    n integer;
BEGIN
    -- Before the lock, which would keep its worker out.
    SELECT c.worker INTO worker FROM {{schema}}.claims AS c WHERE c.id = hold_claim.claim AND c.runner_id IS NULL;
    IF worker <> session_user AND NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
        RAISE EXCEPTION 'the claim % belongs to another worker', hold_claim.claim
            USING ERRCODE = '42501', HINT = 'a claim is ended, and extended, by the role that popped it';
    END IF;
    -- Writes the row: a transaction with an older snapshot gets 40001, at every isolation level.
    UPDATE {{schema}}.claims AS c SET expires_at = c.expires_at
    WHERE c.id = hold_claim.claim AND c.runner_id IS NULL
    RETURNING cardinality(c.task_ids) INTO n;
    RETURN n IS NOT NULL;
END $$;
COMMENT ON FUNCTION {{schema}}.hold_claim(bigint, boolean) IS 'Locks a popped claim for its worker. For complete, fail and extend.';

-- A lease is 30 days at most, because history is not pruned while a claim lives.
-- A claim holds at most 32 MiB of arguments, or one task, so that one statement can
-- end or rescue it.
CREATE FUNCTION {{schema}}.pop(queue text DEFAULT 'default', n integer DEFAULT 1, handlers text[] DEFAULT NULL,
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
    PERFORM {{schema}}.need_read_committed('pop');
    -- External workers alone must be enough to keep a queue going.
    PERFORM {{schema}}.promote();
    PERFORM {{schema}}.rescue(orphans => false, most => 10);
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
        SELECT one.*, u.priority, u.handler FROM urgent AS u CROSS JOIN LATERAL (
            SELECT r.ctid, r.position, pg_column_size(r.args)::bigint AS stored FROM {{schema}}.runnable_tasks AS r
            WHERE r.queue = pop.queue AND r.handler = u.handler AND r.priority = u.priority
            ORDER BY r.position LIMIT pop.n FOR UPDATE SKIP LOCKED) AS one
        LIMIT pop.n
    ), near AS MATERIALIZED (
        -- What is stored compressed is larger than it looks, and is read only if it may be wanted.
        SELECT p.*, sum(p.stored) OVER (ORDER BY p.priority, p.handler, p.position) - p.stored AS before FROM picked AS p
    ), sized AS MATERIALIZED (
        SELECT n.ctid, n.priority, n.handler, n.position,
               CASE WHEN n.stored < 2000 THEN n.stored ELSE octet_length(r.args::text) END AS bytes
        FROM near AS n JOIN {{schema}}.runnable_tasks AS r ON r.ctid = n.ctid WHERE n.before < 33554432
    ), fitting AS MATERIALIZED (
        SELECT s.ctid, sum(s.bytes) OVER (ORDER BY s.priority, s.handler, s.position) - s.bytes AS before FROM sized AS s
    ), gone AS (
        DELETE FROM {{schema}}.runnable_tasks AS r WHERE r.ctid = ANY (ARRAY(SELECT f.ctid FROM fitting AS f WHERE f.before < 33554432)) RETURNING r.*
    )
    INSERT INTO {{schema}}.claims
        (id, worker, expires_at, task_ids, queues, handlers, priorities, attempts, crashes, retries, pushed_at, due_at, keys, parents, args)
    SELECT nextval('{{schema}}.claim_ids'), session_user, clock_timestamp() + pop.lease, array_agg(g.id), array_agg(g.queue), array_agg(g.handler),
           array_agg(g.priority), array_agg(g.attempts), array_agg(g.crashes), array_agg(g.retries), array_agg(g.pushed_at),
           array_agg(g.due_at), array_agg(g.key), array_agg(g.parent), array_agg(g.args)
    FROM (SELECT * FROM gone ORDER BY priority, position) AS g
    HAVING count(*) > 0
    RETURNING claims.id INTO claim;

    RETURN QUERY
        SELECT u.id, u.claim_id, u.handler::text, u.args, u.attempts + 1, u.priority, u.pushed_at, u.due_at, u.key::text, u.expires_at
        FROM {{schema}}.unended AS u WHERE u.claim_id = claim;
END $$;
COMMENT ON FUNCTION {{schema}}.pop(text, integer, text[], interval)
    IS 'Takes up to n due tasks of a queue, 32 MiB of arguments at most, for an external worker, which ends each with complete or fail (id, claim_id) before the lease runs out, or extends it.';

CREATE FUNCTION {{schema}}.close_claim(claim bigint, task bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM {{schema}}.cancellations AS x WHERE x.claim_id = claim AND x.task_id = task;
    DELETE FROM {{schema}}.claims AS c
    WHERE c.id = claim AND NOT EXISTS (SELECT FROM {{schema}}.unended AS u WHERE u.claim_id = claim)
$$;
COMMENT ON FUNCTION {{schema}}.close_claim(bigint, bigint) IS 'Removes a popped claim when its last task has ended. For complete and fail.';

CREATE FUNCTION {{schema}}.complete(id bigint, claim bigint, result json DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF octet_length(complete.result::text) > 1048576 THEN
        RAISE EXCEPTION 'the result has % bytes, at most 1048576 are allowed', octet_length(complete.result::text)
            USING ERRCODE = '22023', HINT = 'store the data elsewhere and return a reference to it';
    END IF;
    IF NOT {{schema}}.hold_claim(complete.claim, true) THEN
        RETURN false;
    END IF;
    INSERT INTO {{schema}}.history
        (id, state, priority, attempts, crashes, retries, queue, handler, args, result, pushed_at, due_at, started_at, claim_id, key, parent)
    SELECT u.id, 'complete', u.priority, u.attempts + 1, u.crashes, u.retries, u.queue, u.handler, u.args,
           coalesce(complete.result, 'null'), u.pushed_at, u.due_at, u.claimed_at, u.claim_id, u.key, u.parent
    FROM {{schema}}.unended AS u
    WHERE u.claim_id = complete.claim AND u.id = complete.id AND u.runner_id IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM {{schema}}.close_claim(complete.claim, complete.id);
    RETURN true;
END $$;
COMMENT ON FUNCTION {{schema}}.complete(bigint, bigint, json)
    IS 'Ends a popped task with a result. False: the claim is gone (its lease ran out, or the task was ended already), and nothing changed.';

CREATE FUNCTION {{schema}}.fail(id bigint, claim bigint, message text, retry_in interval DEFAULT NULL, fatal boolean DEFAULT false)
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
    IF NOT {{schema}}.hold_claim(fail.claim, true) THEN
        RETURN false;
    END IF;
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
COMMENT ON FUNCTION {{schema}}.fail(bigint, bigint, text, interval, boolean)
    IS 'Ends an attempt of a popped task with an error: it is retried (after retry_in, or a growing delay) while retries are left, unless fatal. False: the claim is gone, and nothing changed.';

CREATE FUNCTION {{schema}}.extend(claim bigint, lease interval DEFAULT '5 minutes') RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF extend.lease IS NULL OR extend.lease <= interval '0' THEN
        RAISE EXCEPTION 'the lease % is not positive', coalesce(extend.lease::text, 'null')
            USING ERRCODE = '22023', HINT = 'give the time that the worker still needs';
    ELSIF extend.lease > interval '30 days' THEN
        RAISE EXCEPTION 'the lease % is longer than 30 days', extend.lease
            USING ERRCODE = '22023', HINT = 'give the time that the worker needs, and renew it again';
    END IF;
    IF NOT {{schema}}.hold_claim(extend.claim, false) THEN
        RETURN false;
    END IF;
    UPDATE {{schema}}.claims AS c SET expires_at = clock_timestamp() + extend.lease
    WHERE c.id = extend.claim AND c.expires_at IS NOT NULL;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION {{schema}}.extend(bigint, interval)
    IS 'Renews the lease of a popped claim, counted from now. False: the claim is gone; stop working on it.';
