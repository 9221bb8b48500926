-- Where a task is: for operators and applications by id or key, and for the other functions.

-- For functions that look for a task in several tables, each with a new snapshot.
-- What changes one row needs no such check: two of them conflict with 40001.
CREATE OR REPLACE FUNCTION {{schema}}.need_read_committed(what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'cannot % at isolation level %', what, current_setting('transaction_isolation')
            USING ERRCODE = '25001', HINT = 'call it in a transaction of its own: BEGIN ISOLATION LEVEL READ COMMITTED';
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.need_read_committed(text) IS 'Refuses a snapshot that hides what others have committed. For the other functions.';

-- The array becomes a constant of the statement, so that it is hashed.
CREATE OR REPLACE FUNCTION {{schema}}.scan_runnable(ids bigint[]) RETURNS SETOF tid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = on SET jit = off AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT r.ctid FROM {{schema}}.runnable_tasks AS r WHERE r.id = ANY (%L::bigint[])', ids);
END $$;
COMMENT ON FUNCTION {{schema}}.scan_runnable(bigint[]) IS 'For find_runnable: by reading all of the table.';

-- There is no index over all ids of runnable tasks (0001 says why). A fresh push stands
-- in its lane at position = id, so the lanes are walked, from their ends: at their
-- fronts are the index entries of tasks that were claimed. Where a scan reads fewer
-- pages than the walk, the table is scanned. The plan of the walk is made once, and
-- for tables of any size.
--
-- A walk steps over the entries of tasks that are gone, and those that this transaction
-- removed stay until it ends: task after task, it would step over more and more of them.
-- So the lanes of a walk are kept for the rest of the transaction, a few of them, in
-- the setting pgtq.lanes. They are where later calls look first, by one probe a lane; what is
-- not there is looked for by a walk.
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
COMMENT ON FUNCTION {{schema}}.find_runnable(bigint[]) IS 'Where runnable tasks of these ids stand, as the calling statement sees them. For the other functions.';

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
COMMENT ON FUNCTION {{schema}}.get(bigint) IS 'One task as the view tasks has it, found by indexes. The view itself reads all runnable tasks for an id.';

-- As the view in_flight, for some tasks. The time stands in the statement as a literal,
-- so that only the partitions of the last claims are opened.
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
COMMENT ON FUNCTION {{schema}}.live_among(bigint[]) IS 'Which of these tasks run now, and in which claim. For the other functions.';

-- Somebody's open transaction that popped the task, for example. Only a task that is found to
-- be locked gets here: a subtransaction for each task would be dear in SELECT cancel(id) FROM ....
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
COMMENT ON FUNCTION {{schema}}.wait_for_tasks(bigint[]) IS 'Waits for the transactions that have locked these tasks, as long as lock_timeout says, and names the task. For cancel_tasks and delete_tasks.';

CREATE OR REPLACE FUNCTION {{schema}}.result(id bigint) RETURNS json
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT h.result FROM {{schema}}.history AS h WHERE h.id = result.id AND h.state = 'complete'
$$;
COMMENT ON FUNCTION {{schema}}.result(bigint) IS 'The result of a complete task; null when it is not complete.';

-- In one snapshot a task is in one place, so the order is by cost. Its day of history
-- is not before its push. Only what is nowhere else is looked for in the claims.
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
    IS 'The state of a task whose lane is known; null when it is gone. For the other functions.';

CREATE OR REPLACE FUNCTION {{schema}}.find(key text, queue text DEFAULT 'default') RETURNS TABLE (id bigint, state text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.task_id, {{schema}}.state_of(k.task_id, k.queue, k.handler, k.priority, k.first_at)
    FROM {{schema}}.keys AS k WHERE k.queue = find.queue AND k.key = find.key AND k.scope = ''
$$;
COMMENT ON FUNCTION {{schema}}.find(text, text)
    IS 'The task that has an idempotency key, and its state (null when its history is no longer kept). No row: no task has the key.';
