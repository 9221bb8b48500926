-- Functions for applications: look up a task by its key, and change tasks that wait.

CREATE FUNCTION {{schema}}.result(id bigint) RETURNS json
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT h.result FROM {{schema}}.history AS h WHERE h.id = result.id AND h.state = 'complete'
$$;
COMMENT ON FUNCTION {{schema}}.result(bigint) IS 'The result of a complete task; null when it is not complete.';

-- In one snapshot a task is in one place, so the order is by cost. Its day of history
-- is not before its push. Only what is nowhere else is looked for in the claims.
CREATE FUNCTION {{schema}}.state_of(task bigint, queue text, handler text, priority integer, since timestamptz) RETURNS text
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

CREATE FUNCTION {{schema}}.take_key(queue text, key text, scope text, task bigint, handler text, priority integer, expires_at timestamptz,
    ttl interval DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held {{schema}}.keys;
BEGIN
    SELECT k.* INTO held FROM {{schema}}.keys AS k
    WHERE k.queue = take_key.queue AND k.key = take_key.key AND k.scope = take_key.scope FOR UPDATE;
    IF held.expires_at <= now()
        AND {{schema}}.state_of(held.task_id, held.queue, held.handler, held.priority, held.first_at)
            IN ('scheduled', 'runnable', 'running') IS NOT TRUE
    THEN
        UPDATE {{schema}}.keys AS k
        SET task_id = task, handler = take_key.handler, priority = take_key.priority, expires_at = take_key.expires_at, ttl = take_key.ttl, first_at = now()
        WHERE k.queue = take_key.queue AND k.key = take_key.key AND k.scope = take_key.scope;
        RETURN task;
    END IF;
    RETURN held.task_id;
END $$;
COMMENT ON FUNCTION {{schema}}.take_key(text, text, text, bigint, text, integer, timestamptz, interval)
    IS 'Gives a key to a new task, if its time is over and its task neither waits nor runs. Returns the task that has it; null when the key is gone.';

CREATE FUNCTION {{schema}}.find(key text, queue text DEFAULT 'default') RETURNS TABLE (id bigint, state text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.task_id, {{schema}}.state_of(k.task_id, k.queue, k.handler, k.priority, k.first_at)
    FROM {{schema}}.keys AS k WHERE k.queue = find.queue AND k.key = find.key AND k.scope = ''
$$;
COMMENT ON FUNCTION {{schema}}.find(text, text)
    IS 'The task that has an idempotency key, and its state (null when its history is no longer kept). No row: no task has the key.';

CREATE FUNCTION {{schema}}.make_runnable(task bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM {{schema}}.scheduled_tasks AS s WHERE s.id = make_runnable.task RETURNING s.*
    )
    INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
    SELECT {{carried g}}, nextval('{{schema}}.task_ids'), g.id, g.attempts, g.crashes, g.run_at
    FROM gone AS g
$$;
COMMENT ON FUNCTION {{schema}}.make_runnable(bigint) IS 'Moves one scheduled task to the runnable ones. For change_task.';

-- Changes a task that waits; what is null stays as it is. Locks the key before the
-- task, as pushes do. A task of another lane gets a new position behind every
-- claimer's cursor. An UPDATE carries the columns that are not named here.
CREATE FUNCTION {{schema}}.change_task(task bigint, queue text DEFAULT NULL, handler text DEFAULT NULL, priority integer DEFAULT NULL,
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
        -- A task moves while we look: to runnable when it is due, back when it failed.
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
        -- It has started, or ended, or there is none: nothing is changed.
        RETURN coalesce(
            (SELECT 'running' FROM {{schema}}.unended AS u WHERE u.id = change_task.task LIMIT 1),
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
                -- From when the task is due, as at its push.
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
    IS 'Changes a task that waits. Returns its state now: scheduled or runnable if it was changed. For the other functions.';

CREATE FUNCTION {{schema}}.reschedule(id bigint, run_at timestamptz DEFAULT NULL, delay interval DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nonnulls(reschedule.run_at, reschedule.delay) <> 1 THEN
        RAISE EXCEPTION 'give one time' USING ERRCODE = '22023', HINT = 'give run_at => moment or delay => interval';
    END IF;
    PERFORM {{schema}}.check_task('x', '{}', 'x', reschedule.delay, reschedule.run_at, NULL, NULL);
    RETURN {{schema}}.change_task(reschedule.id, run_at => coalesce(reschedule.run_at, now() + reschedule.delay));
END $$;
COMMENT ON FUNCTION {{schema}}.reschedule(bigint, timestamptz, interval)
    IS 'Sets when a waiting task is due. Returns its state now: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null when there is none of this id.';

CREATE FUNCTION {{schema}}.reprioritise(id bigint, priority integer) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF reprioritise.priority IS NULL THEN
        RAISE EXCEPTION 'the priority is null' USING ERRCODE = '22023', HINT = 'lower numbers run earlier; 0 is the default';
    END IF;
    RETURN {{schema}}.change_task(reprioritise.id, priority => reprioritise.priority);
END $$;
COMMENT ON FUNCTION {{schema}}.reprioritise(bigint, integer)
    IS 'Sets the priority of a waiting task, behind the tasks that have it already. Returns its state now: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null when there is none of this id.';

CREATE FUNCTION {{schema}}.move(id bigint, queue text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF move.queue IS NULL THEN
        RAISE EXCEPTION 'the queue is null' USING ERRCODE = '22023', HINT = 'name a queue';
    END IF;
    RETURN {{schema}}.change_task(move.id, queue => move.queue);
END $$;
COMMENT ON FUNCTION {{schema}}.move(bigint, text)
    IS 'Moves a waiting task with its key to another queue; 23505 if the key is taken there. Returns its state now: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null when there is none of this id.';

CREATE FUNCTION {{schema}}.edit(id bigint, args text DEFAULT NULL, patch jsonb DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nonnulls(edit.args, edit.patch) <> 1 THEN
        RAISE EXCEPTION 'give one change' USING ERRCODE = '22023', HINT = 'give args, or patch => a JSON object of the fields that change';
    END IF;
    RETURN {{schema}}.change_task(edit.id, args => edit.args, patch => edit.patch);
END $$;
COMMENT ON FUNCTION {{schema}}.edit(bigint, text, jsonb)
    IS 'Sets the arguments of a waiting task, or some fields of them. Returns its state now: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null when there is none of this id.';

CREATE FUNCTION {{schema}}.edit(id bigint, args json) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {{schema}}.edit(id, args::text)
$$;
COMMENT ON FUNCTION {{schema}}.edit(bigint, json) IS 'As edit(bigint, text, jsonb), with arguments of type json.';

CREATE FUNCTION {{schema}}.edit(id bigint, args jsonb) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {{schema}}.edit(id, args::text)
$$;
COMMENT ON FUNCTION {{schema}}.edit(bigint, jsonb) IS 'As edit(bigint, text, jsonb), with arguments of type jsonb.';

CREATE FUNCTION {{schema}}.purge(queue text, batch integer DEFAULT 10000) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n_deleted bigint;
    old bigint[];
BEGIN
    IF purge.queue IS NULL OR purge.batch IS NULL OR purge.batch NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'purge needs a queue, and a batch of 1 to 100000 tasks'
            USING ERRCODE = '22023', HINT = 'SELECT {{schema}}.purge(''queue''), again and again until it returns 0';
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
    IS 'Deletes waiting tasks of a queue with their keys, a batch at most. Returns how many; call it again until it returns 0. Tasks that run, or are locked at the moment, stay.';

-- push with all options and an answer. What limits, groups and unique tasks will add
-- is not accepted yet.
CREATE FUNCTION {{schema}}.push_task(handler text, args text DEFAULT '{}', queue text DEFAULT 'default', priority integer DEFAULT 0,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, retries integer DEFAULT NULL, key text DEFAULT NULL,
    on_conflict text DEFAULT 'ignore', key_ttl interval DEFAULT NULL)
RETURNS TABLE (id bigint, outcome text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    held {{schema}}.keys;
    due timestamptz;
    state text;
BEGIN
    IF on_conflict IN ('ignore', 'error', 'replace') IS NOT TRUE THEN
        RAISE EXCEPTION 'on_conflict is %', coalesce(quote_literal(left(on_conflict, 60)), 'null')
            USING ERRCODE = '22023', HINT = 'it is one of ignore, error, replace';
    ELSIF key IS NULL AND (key_ttl IS NOT NULL OR on_conflict <> 'ignore') THEN
        RAISE EXCEPTION 'on_conflict and key_ttl need a key'
            USING ERRCODE = '22023', HINT = 'give key => text';
    ELSIF key_ttl <= interval '0' OR (key_ttl IS NOT NULL AND now() + least(key_ttl, interval '1000 years') > now() + interval '100 years') THEN
        RAISE EXCEPTION 'key_ttl is %', key_ttl
            USING ERRCODE = '22023', HINT = 'give the time for which the key counts after the task is due, within 100 years';
    ELSIF key IS NULL THEN
        RETURN QUERY SELECT {{schema}}.push(handler, args, queue, priority, delay, run_at, retries), 'new'::text;
        RETURN;
    END IF;
    PERFORM {{schema}}.check_task(handler, args, queue, delay, run_at, retries, key);
    due := coalesce(run_at, now() + delay, now());
    priority := coalesce(priority, 0);
    id := nextval('{{schema}}.task_ids');
    FOR round IN 1 .. 4 LOOP
        INSERT INTO {{schema}}.keys (queue, key, task_id, expires_at, ttl, handler, priority)
        VALUES (queue, key, id, due + coalesce(key_ttl, {{schema}}.retention()), key_ttl, handler, priority)
        ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
        -- A statement of its own: the owner may have committed while the insert waited for it.
        SELECT k.* INTO held FROM {{schema}}.keys AS k WHERE k.queue = push_task.queue AND k.key = push_task.key AND k.scope = '';
        IF held.expires_at <= now() THEN
            held.task_id := {{schema}}.take_key(queue, key, '', id, handler, priority, due + coalesce(key_ttl, {{schema}}.retention()), key_ttl);
            EXIT WHEN held.task_id = id;
        END IF;
        -- Deleted in between.
        CONTINUE WHEN held.task_id IS NULL AND round < 4;
        IF held.task_id IS NULL THEN
            RAISE EXCEPTION 'the idempotency key was deleted during the push'
                USING ERRCODE = '40001', HINT = 'push again';
        ELSIF on_conflict = 'error' THEN
            RAISE EXCEPTION 'task % has the key %', held.task_id, quote_literal(key)
                USING ERRCODE = '23505', HINT = format('SELECT * FROM {{schema}}.find(%L, %L) shows its state', key, queue);
        END IF;
        id := held.task_id;
        outcome := 'existing';
        IF on_conflict = 'replace' THEN
            state := {{schema}}.change_task(id, handler => handler, priority => priority, args => args,
                run_at => coalesce(run_at, now() + delay), replace => true, retries => retries, key_ttl => key_ttl);
            outcome := CASE WHEN state IN ('scheduled', 'runnable') THEN 'replaced' WHEN state = 'running' THEN 'running' ELSE 'existing' END;
        END IF;
        RETURN NEXT;
        RETURN;
    END LOOP;
    IF due > now() THEN
        INSERT INTO {{schema}}.scheduled_tasks (id, queue, handler, priority, retries, run_at, key, args)
        VALUES (id, queue, handler, priority, retries, due, key, args::json);
    ELSE
        INSERT INTO {{schema}}.runnable_tasks (queue, handler, priority, position, id, retries, key, args)
        VALUES (queue, handler, priority, id, id, retries, key, args::json);
    END IF;
    PERFORM {{schema}}.wake(ARRAY[queue]);
    outcome := 'new';
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION {{schema}}.push_task(text, text, text, integer, interval, timestamptz, integer, text, text, interval)
    IS 'Pushes a task and says what became of it: new; existing (a task has the key; nothing was changed); replaced (on_conflict => replace: the waiting task was changed); running (it has started and was not replaced). on_conflict => error raises 23505. key_ttl: how long the key counts after the task is due, instead of the retention.';

CREATE FUNCTION {{schema}}.push_task(handler text, args json, queue text DEFAULT 'default', priority integer DEFAULT 0,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, retries integer DEFAULT NULL, key text DEFAULT NULL,
    on_conflict text DEFAULT 'ignore', key_ttl interval DEFAULT NULL)
RETURNS TABLE (id bigint, outcome text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM {{schema}}.push_task(handler, args::text, queue, priority, delay, run_at, retries, key, on_conflict, key_ttl)
$$;
COMMENT ON FUNCTION {{schema}}.push_task(text, json, text, integer, interval, timestamptz, integer, text, text, interval)
    IS 'As push_task(text, text, ...), with arguments of type json.';

CREATE FUNCTION {{schema}}.push_task(handler text, args jsonb, queue text DEFAULT 'default', priority integer DEFAULT 0,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, retries integer DEFAULT NULL, key text DEFAULT NULL,
    on_conflict text DEFAULT 'ignore', key_ttl interval DEFAULT NULL)
RETURNS TABLE (id bigint, outcome text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM {{schema}}.push_task(handler, args::text, queue, priority, delay, run_at, retries, key, on_conflict, key_ttl)
$$;
COMMENT ON FUNCTION {{schema}}.push_task(text, jsonb, text, integer, interval, timestamptz, integer, text, text, interval)
    IS 'As push_task(text, text, ...), with arguments of type jsonb.';
