-- Functions for operators: cancel, retry, delete, pause, drain, and demand for
-- autoscalers.

-- Tasks can move between the statements, mostly forward. So the tables are searched in
-- the order of a task's life, each with a new snapshot, and tasks that were not found are
-- searched once more. The plans are made once, for one id and for ten thousand, for empty
-- tables and full ones: by index, row by row. Tasks that other transactions have locked
-- come last.
CREATE OR REPLACE FUNCTION {{schema}}.cancel_tasks(ids bigint[]) RETURNS TABLE (id bigint, was text, changed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    wanted bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(ids) AS i WHERE i IS NOT NULL ORDER BY i);
    found_ids bigint[];
    seen_ids bigint[];
    locked_ids bigint[];
    waited text := current_setting('lock_timeout');
BEGIN
    PERFORM {{schema}}.need_read_committed('cancel tasks');
    IF waited = '0' THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    FOR round IN 1 .. 10 LOOP
        EXIT WHEN cardinality(wanted) = 0;
        locked_ids := '{}';
        WITH seen AS MATERIALIZED (
            SELECT s.id, s.ctid FROM {{schema}}.scheduled_tasks AS s WHERE s.id = ANY (wanted)
        ), free AS MATERIALIZED (
            SELECT s.ctid FROM {{schema}}.scheduled_tasks AS s WHERE s.ctid = ANY (ARRAY(SELECT e.ctid FROM seen AS e)) FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM {{schema}}.scheduled_tasks AS s WHERE s.ctid = ANY (ARRAY(SELECT f.ctid FROM free AS f)) RETURNING s.*
        ), put AS (
            INSERT INTO {{schema}}.history ({{carried}}, id, state, attempts, crashes, error_message, due_at)
            SELECT {{carried g}}, g.id, 'cancelled', g.attempts, g.crashes, 'cancelled before it ran', g.run_at
            FROM gone AS g
        )
        SELECT (SELECT array_agg(g.id) FROM gone AS g), (SELECT array_agg(e.id) FROM seen AS e) INTO found_ids, seen_ids;
        IF found_ids IS NOT NULL THEN
            RETURN QUERY SELECT i, 'scheduled'::text, true FROM unnest(found_ids) AS i;
            wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));
        END IF;
        locked_ids := locked_ids || ARRAY(SELECT unnest(seen_ids) EXCEPT SELECT unnest(found_ids));
        EXIT WHEN cardinality(wanted) = 0;

        WITH seen AS MATERIALIZED (
            SELECT r.id, r.ctid FROM {{schema}}.runnable_tasks AS r WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(wanted)))
        ), free AS MATERIALIZED (
            SELECT r.ctid FROM {{schema}}.runnable_tasks AS r WHERE r.ctid = ANY (ARRAY(SELECT e.ctid FROM seen AS e)) FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM {{schema}}.runnable_tasks AS r WHERE r.ctid = ANY (ARRAY(SELECT f.ctid FROM free AS f)) RETURNING r.*
        ), put AS (
            INSERT INTO {{schema}}.history ({{carried}}, id, state, attempts, crashes, error_message, due_at)
            SELECT {{carried g}}, g.id, 'cancelled', g.attempts, g.crashes, 'cancelled before it ran', g.due_at
            FROM gone AS g
        )
        SELECT (SELECT array_agg(g.id) FROM gone AS g), (SELECT array_agg(e.id) FROM seen AS e) INTO found_ids, seen_ids;
        IF found_ids IS NOT NULL THEN
            RETURN QUERY SELECT i, 'runnable'::text, true FROM unnest(found_ids) AS i;
            wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));
        END IF;
        locked_ids := locked_ids || ARRAY(SELECT unnest(seen_ids) EXCEPT SELECT unnest(found_ids));
        EXIT WHEN cardinality(wanted) = 0;

        WITH put AS (
            INSERT INTO {{schema}}.cancellations (claim_id, task_id)
            SELECT l.claim_id, l.id FROM {{schema}}.live_among(wanted) AS l
            ON CONFLICT (claim_id, task_id) DO UPDATE SET asked_at = EXCLUDED.asked_at
            RETURNING task_id
        )
        SELECT array_agg(p.task_id) INTO found_ids FROM put AS p;
        IF found_ids IS NOT NULL THEN
            PERFORM {{schema}}.notify_runners();
            RETURN QUERY SELECT i, 'running'::text, true FROM unnest(found_ids) AS i;
            wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));
            EXIT WHEN cardinality(wanted) = 0;
        END IF;

        RETURN QUERY SELECT h.id, h.state, false FROM {{schema}}.history AS h WHERE h.id = ANY (wanted);
        IF FOUND THEN
            wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT h.id FROM {{schema}}.history AS h WHERE h.id = ANY (wanted));
        END IF;
        PERFORM {{schema}}.wait_for_tasks(locked_ids);
        EXIT WHEN round >= 2 AND locked_ids = '{}';
    END LOOP;
    PERFORM set_config('lock_timeout', waited, true);
    RETURN QUERY SELECT i, NULL::text, false FROM unnest(wanted) AS i;
END $$;
COMMENT ON FUNCTION {{schema}}.cancel_tasks(bigint[])
    IS 'Cancels waiting tasks at once, and asks the runners of running ones to stop them. Returns the state in which each was found (null: it does not exist) and whether it was changed. Waits at most 5 seconds (or lock_timeout) for a transaction that has locked a task; then error 55P03 names the task.';

CREATE OR REPLACE FUNCTION {{schema}}.cancel(id bigint) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN c.was IN ('scheduled', 'runnable') THEN 'cancelled' ELSE c.was END
    FROM {{schema}}.cancel_tasks(ARRAY[cancel.id]) AS c
$$;
COMMENT ON FUNCTION {{schema}}.cancel(bigint)
    IS 'Cancels a task. Returns its state: cancelled; running (it was asked to stop); complete or failed (too late); null if it does not exist.';

CREATE OR REPLACE FUNCTION {{schema}}.retry_tasks(ids bigint[]) RETURNS TABLE (id bigint, was text, changed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    wanted bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(ids) AS i WHERE i IS NOT NULL ORDER BY i);
    found_ids bigint[];
    states text[];
BEGIN
    PERFORM {{schema}}.need_read_committed('retry tasks');
    -- Removes a cancellation that has taken effect: rescue would cancel the task again.
    IF EXISTS (SELECT FROM {{schema}}.cancellations) THEN
        DELETE FROM {{schema}}.cancellations AS x
        WHERE (x.task_id IN (SELECT unnest(wanted))) IS TRUE
          AND ((x.claim_id, x.task_id) IN (SELECT l.claim_id, l.id FROM {{schema}}.live_among(wanted) AS l)) IS NOT TRUE;
    END IF;
    -- The last attempt moves to the earlier ones. The counts start at zero, because a task
    -- without retries left would get a single attempt. The task's key gets the same lifetime
    -- again, at most the retention; a pruned key is created again. If another task has the
    -- key now (of this call: the newest one), the task runs without the key.
    WITH gone AS (
        DELETE FROM {{schema}}.history AS h WHERE h.id = ANY (wanted) AND h.state <> 'complete' RETURNING h.*
    ), logged AS (
        INSERT INTO {{schema}}.attempts
            (task_id, claim_id, number, kind, error_code, error_message, error_details, backtrace, logs, logs_dropped,
             started_at, ended_at, fuel, peak_memory, wall_us, digest, runner_id)
        SELECT g.id, coalesce(g.claim_id, 0), g.attempts, coalesce(g.error_kind, 'cancelled'), g.error_code, g.error_message,
               g.error_details, g.backtrace, g.logs, g.logs_dropped, g.started_at, g.finished_at, g.fuel,
               g.peak_memory, g.wall_us, g.digest, g.runner_id
        FROM gone AS g
        ON CONFLICT (task_id, claim_id, ended_at) DO NOTHING
    ), put AS (
        INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, due_at)
        SELECT {{carried g}}, nextval('{{schema}}.task_ids'), g.id, now()
        FROM (SELECT * FROM gone ORDER BY id) AS g
    ), longer AS (
        UPDATE {{schema}}.keys AS k SET expires_at = greatest(k.expires_at, now() + least((SELECT {{schema}}.retention()), k.expires_at - k.first_at))
        FROM gone AS g WHERE g.key IS NOT NULL AND k.queue = g.queue AND k.key = g.key AND k.task_id = g.id
    ), put_back AS (
        INSERT INTO {{schema}}.keys (queue, key, scope, task_id, expires_at, handler, priority, first_at)
        SELECT DISTINCT ON (g.queue, g.key, s.scope) g.queue, g.key, s.scope, g.id, now() + (SELECT {{schema}}.retention()), g.handler, g.priority, g.pushed_at
        FROM gone AS g CROSS JOIN LATERAL (SELECT coalesce(g.traits ->> '_scope', '') COLLATE "C" AS scope) AS s
        WHERE g.key IS NOT NULL
        ORDER BY g.queue, g.key, s.scope, g.id DESC
        ON CONFLICT DO NOTHING
    )
    SELECT array_agg(g.id), array_agg(g.state) INTO found_ids, states FROM gone AS g;
    RETURN QUERY SELECT f.id, f.state, true FROM unnest(found_ids, states) AS f (id, state);
    wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));
    IF cardinality(wanted) > 0 THEN
        WITH gone AS (
            DELETE FROM {{schema}}.scheduled_tasks AS s WHERE s.id = ANY (wanted) RETURNING s.*
        ), put AS (
            INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
            SELECT {{carried g}}, nextval('{{schema}}.task_ids'), g.id, g.attempts, g.crashes, now()
            FROM (SELECT * FROM gone ORDER BY id) AS g
        )
        SELECT array_agg(g.id) INTO found_ids FROM gone AS g;
        RETURN QUERY SELECT i, 'scheduled'::text, true FROM unnest(found_ids) AS i;
        wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));
    END IF;
    -- The remaining tasks need no change, or cannot be retried. Each table with a new
    -- snapshot, in the order of a task's life.
    IF cardinality(wanted) > 0 THEN
        found_ids := ARRAY(SELECT r.id FROM {{schema}}.runnable_tasks AS r WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(wanted))));
        RETURN QUERY SELECT i, 'runnable'::text, false FROM unnest(found_ids) AS i;
        wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));
    END IF;
    IF cardinality(wanted) > 0 THEN
        found_ids := ARRAY(SELECT l.id FROM {{schema}}.live_among(wanted) AS l);
        RETURN QUERY SELECT i, 'running'::text, false FROM unnest(found_ids) AS i;
        wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));
        SELECT array_agg(h.id), array_agg(h.state) INTO found_ids, states FROM {{schema}}.history AS h WHERE h.id = ANY (wanted);
        RETURN QUERY SELECT f.id, f.state, false FROM unnest(found_ids, states) AS f (id, state);
        RETURN QUERY SELECT i, NULL::text, false FROM unnest(ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids))) AS i;
    END IF;
    PERFORM {{schema}}.wake();
END $$;
COMMENT ON FUNCTION {{schema}}.retry_tasks(bigint[])
    IS 'Makes failed, cancelled and scheduled tasks runnable now. Each gets its idempotency key back, unless another task has the key. Returns the state in which each was found (null: it does not exist) and whether it was changed.';

CREATE OR REPLACE FUNCTION {{schema}}.retry(id bigint) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN r.changed THEN 'runnable' ELSE r.was END FROM {{schema}}.retry_tasks(ARRAY[retry.id]) AS r
$$;
COMMENT ON FUNCTION {{schema}}.retry(bigint)
    IS 'Makes a failed, cancelled or scheduled task runnable now. Returns its state; null if it does not exist.';

CREATE OR REPLACE FUNCTION {{schema}}.delete_tasks(ids bigint[]) RETURNS TABLE (id bigint, was text, changed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    wanted bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(ids) AS i WHERE i IS NOT NULL ORDER BY i);
    gone_ids bigint[];
    states text[];
    locked_ids bigint[];
    waited text := current_setting('lock_timeout');
BEGIN
    IF waited = '0' THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    FOR round IN 1 .. 10 LOOP
        EXIT WHEN cardinality(wanted) = 0;
        WITH seen_s AS MATERIALIZED (
            SELECT t.id, t.ctid FROM {{schema}}.scheduled_tasks AS t WHERE t.id = ANY (wanted)
        ), seen_r AS MATERIALIZED (
            SELECT t.id, t.ctid FROM {{schema}}.runnable_tasks AS t WHERE t.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(wanted)))
        ), free_s AS MATERIALIZED (
            SELECT t.ctid FROM {{schema}}.scheduled_tasks AS t WHERE t.ctid = ANY (ARRAY(SELECT e.ctid FROM seen_s AS e)) FOR UPDATE SKIP LOCKED
        ), free_r AS MATERIALIZED (
            SELECT t.ctid FROM {{schema}}.runnable_tasks AS t WHERE t.ctid = ANY (ARRAY(SELECT e.ctid FROM seen_r AS e)) FOR UPDATE SKIP LOCKED
        ), s AS (
            DELETE FROM {{schema}}.scheduled_tasks AS t WHERE t.ctid = ANY (ARRAY(SELECT f.ctid FROM free_s AS f))
            RETURNING t.id, 'scheduled' AS state, t.queue, t.key
        ), r AS (
            DELETE FROM {{schema}}.runnable_tasks AS t WHERE t.ctid = ANY (ARRAY(SELECT f.ctid FROM free_r AS f))
            RETURNING t.id, 'runnable' AS state, t.queue, t.key
        ), h AS (
            DELETE FROM {{schema}}.history AS t WHERE t.id = ANY (wanted) RETURNING t.id, t.state, t.queue, t.key, t.claim_id
        ), gone AS (
            SELECT * FROM s UNION ALL SELECT * FROM r UNION ALL SELECT h.id, h.state, h.queue, h.key FROM h
        ), marked AS (
            -- While the claim exists, only these rows show that the attempt has ended.
            INSERT INTO {{schema}}.attempts (task_id, claim_id, number, kind)
            SELECT h.id, h.claim_id, 0, 'deleted' FROM h JOIN {{schema}}.claims AS c ON c.id = h.claim_id
        ), unkeyed AS (
            DELETE FROM {{schema}}.keys AS k USING gone AS g
            WHERE g.key IS NOT NULL AND k.queue = g.queue AND k.key = g.key AND k.task_id = g.id
        ), listed AS (
            SELECT coalesce(array_agg(g.id), '{}') AS ids, array_agg(g.state) AS states FROM gone AS g
        )
        SELECT l.ids, l.states, ARRAY((SELECT e.id FROM seen_s AS e UNION ALL SELECT e.id FROM seen_r AS e) EXCEPT SELECT unnest(l.ids))
        INTO gone_ids, states, locked_ids FROM listed AS l;
        DELETE FROM {{schema}}.attempts AS a
        WHERE a.task_id = ANY (gone_ids) AND NOT EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = a.claim_id);
        DELETE FROM {{schema}}.log_lines AS l WHERE l.task_id = ANY (gone_ids);
        RETURN QUERY SELECT g.id, g.state, true FROM unnest(gone_ids, states) AS g (id, state);
        wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(gone_ids));
        EXIT WHEN locked_ids = '{}';
        PERFORM {{schema}}.wait_for_tasks(locked_ids);
    END LOOP;
    PERFORM set_config('lock_timeout', waited, true);
    IF cardinality(wanted) > 0 THEN
        gone_ids := ARRAY(SELECT l.id FROM {{schema}}.live_among(wanted) AS l);
        RETURN QUERY SELECT i, 'running'::text, false FROM unnest(gone_ids) AS i;
        RETURN QUERY SELECT i, NULL::text, false FROM unnest(ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(gone_ids))) AS i;
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.delete_tasks(bigint[])
    IS 'Deletes tasks with their attempts and keys, except running ones. Returns the state in which each was found (null: it does not exist) and whether it was deleted. Waits at most 5 seconds (or lock_timeout) for a transaction that has locked a task; then error 55P03 names the task.';

CREATE OR REPLACE FUNCTION {{schema}}.pause(queue text DEFAULT NULL, handler text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nonnulls(pause.queue, pause.handler) <> 1 THEN
        RAISE EXCEPTION 'pause needs either a queue or a handler' USING ERRCODE = '22023', HINT = 'give queue => name or handler => name';
    END IF;
    INSERT INTO {{schema}}.pauses (kind, name)
    VALUES (CASE WHEN pause.queue IS NULL THEN 'handler' ELSE 'queue' END, coalesce(pause.queue, pause.handler))
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION {{schema}}.pause(text, text)
    IS 'Stops claims of a queue''s or a handler''s tasks; running tasks finish. False: it was already paused.';

CREATE OR REPLACE FUNCTION {{schema}}.resume(queue text DEFAULT NULL, handler text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nonnulls(resume.queue, resume.handler) <> 1 THEN
        RAISE EXCEPTION 'resume needs either a queue or a handler' USING ERRCODE = '22023', HINT = 'give queue => name or handler => name';
    END IF;
    DELETE FROM {{schema}}.pauses AS p
    WHERE p.kind = CASE WHEN resume.queue IS NULL THEN 'handler' ELSE 'queue' END
      AND p.name = coalesce(resume.queue, resume.handler);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM {{schema}}.wake();
    RETURN true;
END $$;
COMMENT ON FUNCTION {{schema}}.resume(text, text) IS 'Ends a pause. False: it was not paused.';

CREATE OR REPLACE FUNCTION {{schema}}.drain(runner text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n_asked bigint;
BEGIN
    UPDATE {{schema}}.runners AS r SET draining = true
    WHERE (r.name = drain.runner OR r.id::text = drain.runner) AND r.expires_at > now();
    GET DIAGNOSTICS n_asked = ROW_COUNT;
    IF n_asked > 0 THEN
        -- Runners read this with their next heartbeat; this makes them send one.
        PERFORM {{schema}}.notify_runners();
    END IF;
    RETURN n_asked;
END $$;
COMMENT ON FUNCTION {{schema}}.drain(text) IS 'Asks live runners with this name or id to claim no more tasks, finish their running ones, and stop. Returns how many were asked.';

CREATE OR REPLACE FUNCTION {{schema}}.demand(queues text[] DEFAULT NULL, cap integer DEFAULT 10000) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(cap, (
        SELECT count(*) FROM (
            SELECT FROM {{schema}}.runnable_tasks AS r WHERE queues IS NULL OR r.queue = ANY (queues) LIMIT cap) AS due
    ) + (
        SELECT count(*) FROM {{schema}}.in_flight AS u WHERE queues IS NULL OR u.queue = ANY (queues)))
$$;
COMMENT ON FUNCTION {{schema}}.demand(text[], integer) IS 'The number of due and running tasks, counted up to cap. For autoscalers.';
