-- Functions for applications: change and delete waiting tasks.

CREATE OR REPLACE FUNCTION {{schema}}.make_runnable(task bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM {{schema}}.scheduled_tasks AS s WHERE s.id = make_runnable.task RETURNING s.*
    )
    INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
    SELECT {{carried g}}, nextval('{{schema}}.task_ids'), g.id, g.attempts, g.crashes, g.run_at
    FROM gone AS g
$$;
COMMENT ON FUNCTION {{schema}}.make_runnable(bigint) IS 'Makes one scheduled task runnable. For change_task.';

-- Changes a waiting task; null arguments change nothing. Locks the key before the task,
-- like pushes. A task that changes its lane gets a new position after every claimer's
-- cursor. An UPDATE keeps the columns that are not named here.
CREATE OR REPLACE FUNCTION {{schema}}.change_task(task bigint, queue text DEFAULT NULL, handler text DEFAULT NULL, priority integer DEFAULT NULL,
    args text DEFAULT NULL, patch jsonb DEFAULT NULL, run_at timestamptz DEFAULT NULL, replace boolean DEFAULT false, retries integer DEFAULT NULL,
    key_ttl interval DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    old record;
    new record;
    place text;
    held_key text;
    held_queue text;
    waited text := current_setting('lock_timeout');
BEGIN
    SELECT t.key, t.queue INTO held_key, held_queue FROM (
        SELECT s.key, s.queue FROM {{schema}}.scheduled_tasks AS s WHERE s.id = change_task.task
        UNION ALL
        SELECT r.key, r.queue FROM {{schema}}.runnable_tasks AS r
        WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(ARRAY[change_task.task]))) AND r.id = change_task.task) AS t LIMIT 1;
    IF waited = '0' THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    BEGIN
        PERFORM FROM {{schema}}.keys AS k
        WHERE k.queue = held_queue AND k.key = held_key AND k.task_id = change_task.task FOR UPDATE;
        -- The task can move between the statements: to runnable when it is due, back when it
        -- failed.
        FOR round IN 1 .. 2 LOOP
            SELECT s.queue, s.handler, s.priority, s.retries, s.run_at AS due_at, s.key, s.args::text AS args INTO old
            FROM {{schema}}.scheduled_tasks AS s WHERE s.id = change_task.task FOR UPDATE;
            place := CASE WHEN FOUND THEN 'scheduled' END;
            EXIT WHEN place IS NOT NULL;
            SELECT r.queue, r.handler, r.priority, r.retries, r.due_at, r.key, r.args::text AS args, r.position INTO old
            FROM {{schema}}.runnable_tasks AS r
            WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(ARRAY[change_task.task]))) AND r.id = change_task.task FOR UPDATE;
            place := CASE WHEN FOUND THEN 'runnable' END;
            EXIT WHEN place IS NOT NULL;
        END LOOP;
    EXCEPTION WHEN lock_not_available THEN
        RAISE EXCEPTION 'task % is locked by another transaction', change_task.task
            USING ERRCODE = '55P03', HINT = 'try again when that transaction has ended';
    END;
    PERFORM set_config('lock_timeout', waited, true);
    IF place IS NULL THEN
        -- It has started or finished, or does not exist: change nothing.
        RETURN coalesce(
            (SELECT 'running' FROM {{schema}}.in_flight AS u WHERE u.id = change_task.task LIMIT 1),
            (SELECT h.state FROM {{schema}}.history AS h WHERE h.id = change_task.task LIMIT 1));
    END IF;

    IF patch IS NOT NULL AND NOT (jsonb_typeof(patch) = 'object' AND json_typeof(old.args::json) = 'object') THEN
        RAISE EXCEPTION 'the patch is %, the arguments are %', jsonb_typeof(patch), json_typeof(old.args::json)
            USING ERRCODE = '22023', HINT = 'both must be objects; give args to replace the arguments';
    END IF;
    SELECT coalesce(change_task.queue, old.queue) AS queue, coalesce(change_task.handler, old.handler) AS handler,
           coalesce(change_task.priority, old.priority) AS priority, coalesce(change_task.run_at, old.due_at) AS due_at,
           CASE WHEN replace THEN change_task.retries ELSE old.retries END AS retries,
           CASE WHEN patch IS NOT NULL THEN (old.args::jsonb || patch)::text ELSE coalesce(change_task.args, old.args) END AS args INTO new;
    PERFORM {{schema}}.check_task(new.handler, new.args, new.queue, NULL, change_task.run_at, new.retries, NULL);
    IF old.key IS NOT NULL THEN
        BEGIN
            UPDATE {{schema}}.keys AS k
            SET queue = new.queue, handler = new.handler, priority = new.priority,
                ttl = coalesce(change_task.key_ttl, k.ttl),
                -- Counted from when the task is due, as at its push.
                expires_at = CASE WHEN change_task.run_at IS NULL AND change_task.key_ttl IS NULL THEN k.expires_at
                                  ELSE new.due_at + coalesce(change_task.key_ttl, k.ttl, {{schema}}.retention()) END
            WHERE k.queue = old.queue AND k.key = old.key AND k.task_id = change_task.task;
        EXCEPTION WHEN unique_violation THEN
            RAISE EXCEPTION 'another task of queue % has the key %', new.queue, quote_literal(old.key)
                USING ERRCODE = '23505', HINT = format('SELECT * FROM {{schema}}.find(%L, %L)', old.key, new.queue);
        END;
    END IF;

    IF place = 'scheduled' THEN
        UPDATE {{schema}}.scheduled_tasks AS s
        SET queue = new.queue, handler = new.handler, priority = new.priority, retries = new.retries, run_at = new.due_at, args = new.args::json
        WHERE s.id = change_task.task;
        IF new.due_at <= now() THEN
            PERFORM {{schema}}.make_runnable(change_task.task);
            place := 'runnable';
        END IF;
    ELSE
        UPDATE {{schema}}.runnable_tasks AS r
        SET queue = new.queue, handler = new.handler, priority = new.priority, retries = new.retries, args = new.args::json,
            position = CASE WHEN (new.queue, new.handler, new.priority) = (old.queue, old.handler, old.priority)
                            THEN r.position ELSE nextval('{{schema}}.task_ids') END
        WHERE r.queue = old.queue AND r.handler = old.handler AND r.priority = old.priority AND r.position = old.position;
        IF change_task.run_at > now() THEN
            WITH gone AS (
                DELETE FROM {{schema}}.runnable_tasks AS r
                WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(ARRAY[change_task.task]))) AND r.id = change_task.task RETURNING r.*
            )
            INSERT INTO {{schema}}.scheduled_tasks ({{carried}}, id, attempts, crashes, run_at)
            SELECT {{carried g}}, g.id, g.attempts, g.crashes, change_task.run_at
            FROM gone AS g;
            place := 'scheduled';
        END IF;
    END IF;
    PERFORM {{schema}}.wake(ARRAY[new.queue]);
    RETURN place;
END $$;
COMMENT ON FUNCTION {{schema}}.change_task(bigint, text, text, integer, text, jsonb, timestamptz, boolean, integer, interval)
    IS 'Changes a waiting task. Returns its state: scheduled or runnable if it was changed. For the other functions.';

CREATE OR REPLACE FUNCTION {{schema}}.reschedule(id bigint, run_at timestamptz DEFAULT NULL, delay interval DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nonnulls(reschedule.run_at, reschedule.delay) <> 1 THEN
        RAISE EXCEPTION 'either run_at or delay is required' USING ERRCODE = '22023', HINT = 'give run_at => moment or delay => interval';
    END IF;
    PERFORM {{schema}}.check_task('x', '{}', 'x', reschedule.delay, reschedule.run_at, NULL, NULL);
    RETURN {{schema}}.change_task(reschedule.id, run_at => coalesce(reschedule.run_at, now() + reschedule.delay));
END $$;
COMMENT ON FUNCTION {{schema}}.reschedule(bigint, timestamptz, interval)
    IS 'Sets when a waiting task is due. Returns its state: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null if it does not exist.';

CREATE OR REPLACE FUNCTION {{schema}}.reprioritise(id bigint, priority integer) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF reprioritise.priority IS NULL THEN
        RAISE EXCEPTION 'the priority is null' USING ERRCODE = '22023', HINT = 'lower numbers run earlier; 0 is the default';
    END IF;
    RETURN {{schema}}.change_task(reprioritise.id, priority => reprioritise.priority);
END $$;
COMMENT ON FUNCTION {{schema}}.reprioritise(bigint, integer)
    IS 'Sets the priority of a waiting task, after the tasks that already have it. Returns its state: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null if it does not exist.';

CREATE OR REPLACE FUNCTION {{schema}}.move(id bigint, queue text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF move.queue IS NULL THEN
        RAISE EXCEPTION 'the queue is null' USING ERRCODE = '22023', HINT = 'name a queue';
    END IF;
    RETURN {{schema}}.change_task(move.id, queue => move.queue);
END $$;
COMMENT ON FUNCTION {{schema}}.move(bigint, text)
    IS 'Moves a waiting task and its key to another queue; error 23505 if the key is in use there. Returns its state: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null if it does not exist.';

CREATE OR REPLACE FUNCTION {{schema}}.edit(id bigint, args text DEFAULT NULL, patch jsonb DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nonnulls(edit.args, edit.patch) <> 1 THEN
        RAISE EXCEPTION 'either args or patch is required' USING ERRCODE = '22023', HINT = 'give args, or patch => a JSON object of the fields that change';
    END IF;
    RETURN {{schema}}.change_task(edit.id, args => edit.args, patch => edit.patch);
END $$;
COMMENT ON FUNCTION {{schema}}.edit(bigint, text, jsonb)
    IS 'Sets the arguments of a waiting task, or some of their fields. Returns its state: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null if it does not exist.';

CREATE OR REPLACE FUNCTION {{schema}}.edit(id bigint, args json) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {{schema}}.edit(id, args::text)
$$;
COMMENT ON FUNCTION {{schema}}.edit(bigint, json) IS 'As edit(bigint, text, jsonb), with arguments of type json.';

CREATE OR REPLACE FUNCTION {{schema}}.edit(id bigint, args jsonb) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {{schema}}.edit(id, args::text)
$$;
COMMENT ON FUNCTION {{schema}}.edit(bigint, jsonb) IS 'As edit(bigint, text, jsonb), with arguments of type jsonb.';

CREATE OR REPLACE FUNCTION {{schema}}.purge(queue text, batch integer DEFAULT 10000) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n_deleted bigint;
    old bigint[];
BEGIN
    IF purge.queue IS NULL OR purge.batch IS NULL OR purge.batch NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'purge needs a queue, and a batch of 1 to 100000 tasks'
            USING ERRCODE = '22023', HINT = 'repeat SELECT {{schema}}.purge(''queue'') until it returns 0';
    END IF;
    WITH r AS (
        DELETE FROM {{schema}}.runnable_tasks AS t
        WHERE t.ctid = ANY (ARRAY(
            SELECT r.ctid FROM {{schema}}.runnable_tasks AS r WHERE r.queue = purge.queue
            ORDER BY r.queue, r.handler, r.priority, r.position LIMIT purge.batch FOR UPDATE SKIP LOCKED))
        RETURNING t.id, t.key, t.attempts
    ), s AS (
        DELETE FROM {{schema}}.scheduled_tasks AS t
        WHERE t.ctid = ANY (ARRAY(
            SELECT s.ctid FROM {{schema}}.scheduled_tasks AS s WHERE s.queue = purge.queue
            LIMIT purge.batch - (SELECT count(*) FROM r) FOR UPDATE SKIP LOCKED))
        RETURNING t.id, t.key, t.attempts
    ), gone AS (
        SELECT * FROM r UNION ALL SELECT * FROM s
    ), unkeyed AS (
        DELETE FROM {{schema}}.keys AS k USING gone AS g
        WHERE k.queue = purge.queue AND k.key = g.key AND k.task_id = g.id
    )
    SELECT count(*), array_agg(g.id) FILTER (WHERE g.attempts > 0) INTO n_deleted, old FROM gone AS g;
    IF old IS NOT NULL THEN
        DELETE FROM {{schema}}.attempts AS a
        WHERE a.task_id = ANY (old) AND NOT EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = a.claim_id);
        DELETE FROM {{schema}}.log_lines AS l WHERE l.task_id = ANY (old);
    END IF;
    RETURN n_deleted;
END $$;
COMMENT ON FUNCTION {{schema}}.purge(text, integer)
    IS 'Deletes at most a batch of waiting tasks of a queue and their keys. Returns how many; call it again until it returns 0. Does not delete running or locked tasks.';
