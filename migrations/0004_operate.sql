-- Functions for operators: cancel, retry, delete, pause, drain, and the demand
-- that an autoscaler reads.

CREATE FUNCTION {{schema}}.find_runnable(ids bigint[]) RETURNS SETOF tid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF cardinality(ids) > 20 THEN
        RETURN QUERY SELECT r.ctid FROM {{schema}}.runnable_tasks AS r WHERE r.id = ANY (ids);
        RETURN;
    END IF;
    -- In its lane at position = id, or among those that came back.
    RETURN QUERY
        WITH RECURSIVE lane AS (
            (SELECT r.queue, r.handler, r.priority FROM {{schema}}.runnable_tasks AS r
             ORDER BY r.queue, r.handler, r.priority LIMIT 1)
            UNION ALL
            SELECT next.* FROM lane AS l CROSS JOIN LATERAL (
                SELECT r.queue, r.handler, r.priority FROM {{schema}}.runnable_tasks AS r
                WHERE (r.queue, r.handler, r.priority) > (l.queue, l.handler, l.priority)
                ORDER BY r.queue, r.handler, r.priority LIMIT 1) AS next
        )
        SELECT r.ctid FROM lane AS l
        CROSS JOIN unnest(ids) AS wanted (id)
        JOIN {{schema}}.runnable_tasks AS r
            ON r.queue = l.queue AND r.handler = l.handler AND r.priority = l.priority AND r.position = wanted.id
        WHERE r.id = wanted.id
        UNION ALL
        SELECT r.ctid FROM {{schema}}.runnable_tasks AS r WHERE r.id = ANY (ids) AND r.position <> r.id;
END $$;
COMMENT ON FUNCTION {{schema}}.find_runnable(bigint[]) IS 'Where runnable tasks of these ids stand. For the other functions.';

-- Tasks move while we look, mostly forward: so the tables are searched in the
-- order of a task's life, each with a new snapshot, and what was not found is
-- looked for once more.
CREATE FUNCTION {{schema}}.cancel_tasks(ids bigint[]) RETURNS TABLE (id bigint, was text, changed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    wanted bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(ids) AS i ORDER BY i);
    found_ids bigint[];
BEGIN
    PERFORM {{schema}}.need_read_committed('cancel tasks');
    FOR round IN 1 .. 2 LOOP
        EXIT WHEN cardinality(wanted) = 0;
        WITH gone AS (
            DELETE FROM {{schema}}.scheduled_tasks AS s WHERE s.id = ANY (wanted) RETURNING s.*
        ), put AS (
            INSERT INTO {{schema}}.history
                (id, state, priority, attempts, crashes, retries, queue, handler, args, error_message, pushed_at, due_at, key, parent)
            SELECT g.id, 'cancelled', g.priority, g.attempts, g.crashes, g.retries, g.queue, g.handler, g.args,
                   'cancelled before it ran', g.pushed_at, g.run_at, g.key, g.parent
            FROM gone AS g
        )
        SELECT coalesce(array_agg(g.id), '{}') INTO found_ids FROM gone AS g;
        RETURN QUERY SELECT i, 'scheduled'::text, true FROM unnest(found_ids) AS i;
        wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));

        WITH gone AS (
            DELETE FROM {{schema}}.runnable_tasks AS r
            WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(wanted))) AND r.id = ANY (wanted) RETURNING r.*
        ), put AS (
            INSERT INTO {{schema}}.history
                (id, state, priority, attempts, crashes, retries, queue, handler, args, error_message, pushed_at, due_at, key, parent)
            SELECT g.id, 'cancelled', g.priority, g.attempts, g.crashes, g.retries, g.queue, g.handler, g.args,
                   'cancelled before it ran', g.pushed_at, g.due_at, g.key, g.parent
            FROM gone AS g
        )
        SELECT coalesce(array_agg(g.id), '{}') INTO found_ids FROM gone AS g;
        RETURN QUERY SELECT i, 'runnable'::text, true FROM unnest(found_ids) AS i;
        wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));
        EXIT WHEN cardinality(wanted) = 0;

        WITH put AS (
            INSERT INTO {{schema}}.cancellations (claim_id, task_id)
            SELECT u.claim_id, u.id FROM {{schema}}.unended AS u WHERE u.id = ANY (wanted)
            ON CONFLICT (claim_id, task_id) DO UPDATE SET asked_at = EXCLUDED.asked_at
            RETURNING task_id
        )
        SELECT coalesce(array_agg(p.task_id), '{}') INTO found_ids FROM put AS p;
        IF cardinality(found_ids) > 0 THEN
            PERFORM pg_notify('{{channel}}', 'cancel');
        END IF;
        RETURN QUERY SELECT i, 'running'::text, true FROM unnest(found_ids) AS i;
        wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(found_ids));

        RETURN QUERY SELECT h.id, h.state, false FROM {{schema}}.history AS h WHERE h.id = ANY (wanted);
        wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT h.id FROM {{schema}}.history AS h WHERE h.id = ANY (wanted));
    END LOOP;
    RETURN QUERY SELECT i, NULL::text, false FROM unnest(wanted) AS i;
END $$;
COMMENT ON FUNCTION {{schema}}.cancel_tasks(bigint[])
    IS 'Cancels: waiting tasks at once, running ones by asking their runner. Says where each was and whether something changed.';

CREATE FUNCTION {{schema}}.cancel(id bigint) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN c.was IN ('scheduled', 'runnable') THEN 'cancelled' ELSE c.was END
    FROM {{schema}}.cancel_tasks(ARRAY[cancel.id]) AS c
$$;
COMMENT ON FUNCTION {{schema}}.cancel(bigint)
    IS 'Cancels a task. Returns its state now: cancelled; running (it was asked to stop); complete or failed (too late); null when there is none of this id.';

CREATE FUNCTION {{schema}}.retry_tasks(ids bigint[]) RETURNS TABLE (id bigint, was text, changed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    wanted bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(ids) AS i ORDER BY i);
    found_ids bigint[];
BEGIN
    PERFORM {{schema}}.need_read_committed('retry tasks');
    -- What is left of a cancel that has done its work: rescue would cancel the task anew.
    DELETE FROM {{schema}}.cancellations AS x
    WHERE x.task_id = ANY (wanted)
      AND NOT EXISTS (SELECT FROM {{schema}}.unended AS u WHERE u.claim_id = x.claim_id AND u.id = x.task_id);
    -- The last attempt goes where the earlier ones are. The counts begin anew,
    -- or a task out of retries would get a single attempt.
    RETURN QUERY
        WITH gone AS (
            DELETE FROM {{schema}}.history AS h WHERE h.id = ANY (wanted) AND h.state <> 'complete' RETURNING h.*
        ), logged AS (
            INSERT INTO {{schema}}.attempts
                (task_id, claim_id, number, kind, error_code, error_message, error_details, backtrace, logs, logs_dropped,
                 started_at, ended_at, fuel, peak_memory, wall_us, digest, runner_id)
            SELECT g.id, g.claim_id, g.attempts, coalesce(g.error_kind, 'cancelled'), g.error_code, g.error_message,
                   g.error_details, g.backtrace, g.logs, g.logs_dropped, g.started_at, g.finished_at, g.fuel,
                   g.peak_memory, g.wall_us, g.digest, g.runner_id
            FROM gone AS g
        ), put AS (
            INSERT INTO {{schema}}.runnable_tasks
                (queue, handler, priority, position, id, retries, pushed_at, due_at, key, parent, args)
            SELECT g.queue, g.handler, g.priority, nextval('{{schema}}.task_ids'), g.id, g.retries, g.pushed_at, now(),
                   g.key, g.parent, g.args
            FROM (SELECT * FROM gone ORDER BY id) AS g
        )
        SELECT g.id, g.state, true FROM gone AS g;
    RETURN QUERY
        WITH gone AS (
            DELETE FROM {{schema}}.scheduled_tasks AS s WHERE s.id = ANY (wanted) RETURNING s.*
        ), put AS (
            INSERT INTO {{schema}}.runnable_tasks
                (queue, handler, priority, position, id, attempts, crashes, retries, pushed_at, due_at, key, parent, args)
            SELECT g.queue, g.handler, g.priority, nextval('{{schema}}.task_ids'), g.id, g.attempts, g.crashes, g.retries,
                   g.pushed_at, now(), g.key, g.parent, g.args
            FROM (SELECT * FROM gone ORDER BY id) AS g
        )
        SELECT g.id, 'scheduled'::text, true FROM gone AS g;
    -- What is runnable by now was moved here, or needed nothing.
    RETURN QUERY SELECT u.id, 'running'::text, false FROM {{schema}}.unended AS u WHERE u.id = ANY (wanted);
    RETURN QUERY SELECT h.id, h.state, false FROM {{schema}}.history AS h WHERE h.id = ANY (wanted);
    PERFORM {{schema}}.wake();
END $$;
COMMENT ON FUNCTION {{schema}}.retry_tasks(bigint[])
    IS 'Makes failed, cancelled and scheduled tasks runnable now. Says where each was and whether something changed; tasks not named were runnable, or do not exist.';

CREATE FUNCTION {{schema}}.retry(id bigint) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (SELECT CASE WHEN r.changed THEN 'runnable' ELSE r.was END FROM {{schema}}.retry_tasks(ARRAY[retry.id]) AS r LIMIT 1),
        (SELECT 'runnable' FROM {{schema}}.find_runnable(ARRAY[retry.id]) LIMIT 1))
$$;
COMMENT ON FUNCTION {{schema}}.retry(bigint)
    IS 'Makes a failed, cancelled or scheduled task runnable now. Returns its state now; null when there is none of this id.';

CREATE FUNCTION {{schema}}.delete_tasks(ids bigint[]) RETURNS TABLE (id bigint, was text, changed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    wanted bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(ids) AS i ORDER BY i);
    gone_ids bigint[];
    states text[];
BEGIN
    WITH s AS (DELETE FROM {{schema}}.scheduled_tasks AS t WHERE t.id = ANY (wanted) RETURNING t.id, 'scheduled' AS state, t.queue, t.key),
    r AS (
        DELETE FROM {{schema}}.runnable_tasks AS t
        WHERE t.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(wanted))) AND t.id = ANY (wanted)
        RETURNING t.id, 'runnable' AS state, t.queue, t.key
    ), h AS (
        DELETE FROM {{schema}}.history AS t WHERE t.id = ANY (wanted) RETURNING t.id, t.state, t.queue, t.key, t.claim_id
    ), gone AS (
        SELECT * FROM s UNION ALL SELECT * FROM r UNION ALL SELECT h.id, h.state, h.queue, h.key FROM h
    ), marked AS (
        -- While its claim lives, only these rows say that the task has ended there.
        INSERT INTO {{schema}}.attempts (task_id, claim_id, number, kind)
        SELECT h.id, h.claim_id, 0, 'deleted' FROM h JOIN {{schema}}.claims AS c ON c.id = h.claim_id
    ),
    unkeyed AS (
        DELETE FROM {{schema}}.keys AS k USING gone AS g
        WHERE g.key IS NOT NULL AND k.queue = g.queue AND k.key = g.key AND k.task_id = g.id
    )
    SELECT coalesce(array_agg(g.id), '{}'), array_agg(g.state) INTO gone_ids, states FROM gone AS g;
    DELETE FROM {{schema}}.attempts AS a
    WHERE a.task_id = ANY (gone_ids) AND NOT EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = a.claim_id);
    DELETE FROM {{schema}}.log_lines AS l WHERE l.task_id = ANY (gone_ids);
    RETURN QUERY SELECT g.id, g.state, true FROM unnest(gone_ids, states) AS g (id, state);
    RETURN QUERY SELECT u.id, 'running'::text, false FROM {{schema}}.unended AS u WHERE u.id = ANY (wanted);
END $$;
COMMENT ON FUNCTION {{schema}}.delete_tasks(bigint[])
    IS 'Removes tasks with their attempts and keys. Running ones are left alone. Says where each was; tasks not named do not exist.';

CREATE FUNCTION {{schema}}.pause(queue text DEFAULT NULL, handler text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nonnulls(pause.queue, pause.handler) <> 1 THEN
        RAISE EXCEPTION 'pause one thing' USING ERRCODE = '22023', HINT = 'give queue => name or handler => name';
    END IF;
    INSERT INTO {{schema}}.pauses (kind, name)
    VALUES (CASE WHEN pause.queue IS NULL THEN 'handler' ELSE 'queue' END, coalesce(pause.queue, pause.handler))
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION {{schema}}.pause(text, text)
    IS 'Stops claims from a queue, or of a handler''s tasks; tasks under way go on. False: it was paused already.';

CREATE FUNCTION {{schema}}.resume(queue text DEFAULT NULL, handler text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nonnulls(resume.queue, resume.handler) <> 1 THEN
        RAISE EXCEPTION 'resume one thing' USING ERRCODE = '22023', HINT = 'give queue => name or handler => name';
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

CREATE FUNCTION {{schema}}.drain(runner text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n_asked bigint;
BEGIN
    UPDATE {{schema}}.runners AS r SET draining = true
    WHERE (r.name = drain.runner OR r.id::text = drain.runner) AND r.expires_at > now();
    GET DIAGNOSTICS n_asked = ROW_COUNT;
    IF n_asked > 0 THEN
        -- Runners hear of it with their next beat, and this makes them beat.
        PERFORM pg_notify('{{channel}}', 'cancel');
    END IF;
    RETURN n_asked;
END $$;
COMMENT ON FUNCTION {{schema}}.drain(text) IS 'Asks live runners of this name or id to claim nothing more, finish what they run, and stop. Returns how many were asked.';

CREATE FUNCTION {{schema}}.demand(queues text[] DEFAULT NULL, cap integer DEFAULT 10000) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(cap, (
        SELECT count(*) FROM (
            SELECT FROM {{schema}}.runnable_tasks AS r WHERE queues IS NULL OR r.queue = ANY (queues) LIMIT cap) AS due
    ) + (
        SELECT count(*) FROM {{schema}}.unended AS u WHERE queues IS NULL OR u.queue = ANY (queues)))
$$;
COMMENT ON FUNCTION {{schema}}.demand(text[], integer) IS 'Tasks that are due or running, counted up to cap: what an autoscaler asks for.';
