-- Finds tasks: by id or key for operators and applications, and for the other functions.

-- For functions that look for a task in several tables, each with a new snapshot. A
-- function that changes one row needs no such check: two calls conflict with 40001.
CREATE OR REPLACE FUNCTION {{schema}}.need_read_committed(what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'cannot % at isolation level %', what, current_setting('transaction_isolation')
            USING ERRCODE = '25001', HINT = 'call it in a separate transaction: BEGIN ISOLATION LEVEL READ COMMITTED';
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.need_read_committed(text) IS 'Rejects an isolation level whose snapshot hides later commits. For the other functions.';

-- The array becomes a constant of the statement, so that it is hashed.
CREATE OR REPLACE FUNCTION {{schema}}.scan_runnable(ids bigint[]) RETURNS SETOF tid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = on SET jit = off AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT r.ctid FROM {{schema}}.runnable_tasks AS r WHERE r.id = ANY (%L::bigint[])', ids);
END $$;
COMMENT ON FUNCTION {{schema}}.scan_runnable(bigint[]) IS 'For find_runnable: reads the whole table.';

-- There is no index on all ids of runnable tasks (0001 explains why). A new task is in
-- its lane at position = id, so the function walks the lanes from their ends: the index
-- entries of claimed tasks are at their starts. If a scan reads fewer pages than the
-- walk, it scans the table. The plan of the walk is made once, for tables of any size.
--
-- A walk steps over the entries of removed tasks, and those that this transaction removed
-- remain until it ends: each further task would step over more of them. So the function
-- keeps some lanes of a walk for the rest of the transaction, in the setting pgtq.lanes.
-- Later calls probe these first, once per lane, and walk only for tasks that are not
-- there.
CREATE OR REPLACE FUNCTION {{schema}}.find_runnable(ids bigint[]) RETURNS SETOF tid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    pages bigint := pg_relation_size('{{schema}}.runnable_tasks'::regclass) / current_setting('block_size')::integer;
    most bigint;
    wanted bigint[] := ids;
    lanes text[] := coalesce(nullif(current_setting('pgtq.lanes', true), ''), '{}');
    is_walk boolean := cardinality(lanes) = 0;
    found tid[];
    found_ids bigint[];
BEGIN
    SELECT array_agg(f.ctid), array_agg(f.id) INTO found, found_ids
    FROM unnest(wanted) AS w (id)
    CROSS JOIN LATERAL (
        SELECT r.ctid, r.id FROM {{schema}}.runnable_tasks AS r WHERE r.id = w.id AND r.position <> r.id LIMIT 1) AS f;
    IF found IS NOT NULL THEN
        RETURN QUERY SELECT unnest(found);
        wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));
    END IF;
    LOOP
        EXIT WHEN cardinality(wanted) = 0;
        most := pages / cardinality(wanted);
        IF is_walk THEN
            WITH RECURSIVE lane AS (
                (SELECT r.queue, r.handler, r.priority FROM {{schema}}.runnable_tasks AS r
                 ORDER BY r.queue DESC, r.handler DESC, r.priority DESC LIMIT 1)
                UNION ALL
                SELECT next.* FROM lane AS l CROSS JOIN LATERAL (
                    SELECT r.queue, r.handler, r.priority FROM {{schema}}.runnable_tasks AS r
                    WHERE (r.queue, r.handler, r.priority) < (l.queue, l.handler, l.priority)
                    ORDER BY r.queue DESC, r.handler DESC, r.priority DESC LIMIT 1) AS next
            )
            SELECT array_agg(ARRAY[l.queue, l.handler, l.priority::text]) INTO lanes
            FROM (SELECT * FROM lane LIMIT most + 1) AS l;
            EXIT WHEN lanes IS NULL;
            IF array_length(lanes, 1) > most THEN
                RETURN QUERY SELECT {{schema}}.scan_runnable(wanted);
                RETURN;
            ELSIF array_length(lanes, 1) <= 100 THEN
                PERFORM set_config('pgtq.lanes', lanes::text, true);
            END IF;
        END IF;
        IF array_length(lanes, 1) <= most THEN
            SELECT array_agg(f.ctid), array_agg(f.id) INTO found, found_ids
            FROM generate_subscripts(lanes, 1) AS n
            CROSS JOIN unnest(wanted) AS w (id)
            CROSS JOIN LATERAL (
                SELECT r.ctid, r.id FROM {{schema}}.runnable_tasks AS r
                WHERE r.queue = lanes[n][1] AND r.handler = lanes[n][2] AND r.priority = lanes[n][3]::integer AND r.position = w.id
                  AND r.id = w.id LIMIT 1) AS f;
            IF found IS NOT NULL THEN
                RETURN QUERY SELECT unnest(found);
                wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));
            END IF;
        END IF;
        EXIT WHEN is_walk;
        is_walk := true;
    END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.find_runnable(bigint[]) IS 'The row positions of runnable tasks with these ids, as the calling statement sees them. For the other functions.';

CREATE OR REPLACE FUNCTION {{schema}}.get(id bigint) RETURNS SETOF {{schema}}.tasks
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM {{schema}}.scheduled AS s WHERE s.id = get.id
    UNION ALL
    SELECT r.id, 'runnable', r.queue, r.handler, r.priority, r.args, NULL, NULL, NULL, NULL, r.attempts, r.crashes,
           r.retries, r.pushed_at, r.due_at, NULL, NULL, NULL, NULL, r.key, r.parent
    FROM {{schema}}.runnable_tasks AS r WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(ARRAY[get.id])))
    UNION ALL
    SELECT * FROM {{schema}}.running AS u WHERE u.id = get.id
    UNION ALL
    SELECT h.id, h.state, h.queue, h.handler, h.priority, h.args, h.result, h.error_kind, h.error_code, h.error_message,
           h.attempts, h.crashes, h.retries, h.pushed_at, h.due_at, h.started_at, h.finished_at, h.runner_id, h.claim_id, h.key, h.parent
    FROM {{schema}}.history AS h WHERE h.id = get.id
$$;
COMMENT ON FUNCTION {{schema}}.get(bigint) IS 'One task with the columns of the view tasks, found by indexes. The view itself reads all runnable tasks for an id.';

-- Like the view in_flight, for some tasks. The time is a literal in the statement, so
-- that only the partitions of the last claims are opened.
CREATE OR REPLACE FUNCTION {{schema}}.live_among(ids bigint[]) RETURNS TABLE (claim_id bigint, id bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    claims bigint[];
    tasks bigint[];
    since timestamptz;
BEGIN
    RETURN QUERY SELECT p.claim_id, p.task_id FROM {{schema}}.popped AS p WHERE p.task_id = ANY (ids);
    SELECT array_agg(c.id), array_agg(t.id), min(c.claimed_at) - interval '1 hour' INTO claims, tasks, since
    FROM {{schema}}.claims AS c CROSS JOIN LATERAL unnest(c.task_ids) AS t (id)
    WHERE (t.id IN (SELECT unnest(ids))) IS TRUE;
    IF claims IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format('
        SELECT e.claim_id, e.id FROM unnest($1, $2) AS e (claim_id, id)
        LEFT JOIN LATERAL (SELECT true AS ended FROM {{schema}}.history AS h
                           WHERE h.id = e.id AND h.claim_id = e.claim_id AND h.finished_at >= %L LIMIT 1) AS h ON true
        LEFT JOIN LATERAL (SELECT true AS ended FROM {{schema}}.attempts AS a
                           WHERE a.task_id = e.id AND a.claim_id = e.claim_id AND a.ended_at >= %L LIMIT 1) AS a ON true
        WHERE h.ended IS NULL AND a.ended IS NULL', since, since) USING claims, tasks;
END $$;
COMMENT ON FUNCTION {{schema}}.live_among(bigint[]) IS 'Which of these tasks are running, and in which claim. For the other functions.';

-- For example, an open transaction popped the task. Only for tasks that are locked: a
-- subtransaction for each task would be expensive in SELECT cancel(id) FROM ....
CREATE OR REPLACE FUNCTION {{schema}}.wait_for_tasks(ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    task bigint;
BEGIN
    FOREACH task IN ARRAY coalesce(ids, '{}') LOOP
        BEGIN
            PERFORM FROM {{schema}}.scheduled_tasks AS s WHERE s.id = task FOR UPDATE;
            PERFORM FROM {{schema}}.runnable_tasks AS r WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(ARRAY[task]))) AND r.id = task FOR UPDATE;
        EXCEPTION WHEN lock_not_available THEN
            RAISE EXCEPTION 'task % is locked by another transaction', task
                USING ERRCODE = '55P03', HINT = 'try again when that transaction has ended';
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.wait_for_tasks(bigint[]) IS 'Waits at most lock_timeout for the transactions that have locked these tasks, and names the task in the error. For cancel_tasks and delete_tasks.';

CREATE OR REPLACE FUNCTION {{schema}}.result(id bigint) RETURNS json
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT h.result FROM {{schema}}.history AS h WHERE h.id = result.id AND h.state = 'complete'
$$;
COMMENT ON FUNCTION {{schema}}.result(bigint) IS 'The result of a complete task; null if it is not complete.';

-- In one snapshot a task is in one place, so the tables are searched in the order of
-- cost. A task cannot finish before the day of its push. Claims come last.
CREATE OR REPLACE FUNCTION {{schema}}.state_of(task bigint, queue text, handler text, priority integer, since timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN EXISTS (SELECT FROM {{schema}}.scheduled_tasks AS s WHERE s.id = state_of.task) THEN 'scheduled'
        WHEN EXISTS (
            SELECT FROM {{schema}}.runnable_tasks AS r
            WHERE r.queue = state_of.queue AND r.handler = state_of.handler AND r.priority = state_of.priority
              AND r.position = state_of.task AND r.id = state_of.task)
          OR EXISTS (SELECT FROM {{schema}}.runnable_tasks AS r WHERE r.id = state_of.task AND r.position <> r.id) THEN 'runnable'
        WHEN EXISTS (SELECT FROM {{schema}}.popped AS p WHERE p.task_id = state_of.task) THEN 'running'
        ELSE coalesce(
            (SELECT h.state FROM {{schema}}.history AS h WHERE h.id = state_of.task AND h.finished_at >= state_of.since LIMIT 1),
            (SELECT 'running' FROM {{schema}}.claims AS c WHERE state_of.task = ANY (c.task_ids) LIMIT 1)) END
$$;
COMMENT ON FUNCTION {{schema}}.state_of(bigint, text, text, integer, timestamptz)
    IS 'The state of a task whose lane is known; null if it does not exist. For the other functions.';

CREATE OR REPLACE FUNCTION {{schema}}.find(key text, queue text DEFAULT 'default') RETURNS TABLE (id bigint, state text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.task_id, {{schema}}.state_of(k.task_id, k.queue, k.handler, k.priority, k.first_at)
    FROM {{schema}}.keys AS k WHERE k.queue = find.queue AND k.key = find.key AND k.scope = ''
$$;
COMMENT ON FUNCTION {{schema}}.find(text, text)
    IS 'The task that has an idempotency key, and its state (null if its history has been deleted). No row: no task has the key.';
