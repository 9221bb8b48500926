-- push with all options and its outcome, and the takeover of expired keys.

CREATE OR REPLACE FUNCTION {{schema}}.take_key(queue text, key text, scope text, task bigint, handler text, priority integer, expires_at timestamptz,
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
    IS 'Assigns a key to a new task if it has expired and its task neither waits nor runs. Returns the task that has it; null if the key does not exist.';

-- push with all options and its outcome. Options for groups and unique tasks do not exist
-- yet.
CREATE OR REPLACE FUNCTION {{schema}}.push_task(handler text, args text DEFAULT '{}', queue text DEFAULT 'default', priority integer DEFAULT 0,
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
        RAISE EXCEPTION 'invalid on_conflict: %', coalesce(quote_literal(left(on_conflict, 60)), 'null')
            USING ERRCODE = '22023', HINT = 'it is one of ignore, error, replace';
    ELSIF key IS NULL AND (key_ttl IS NOT NULL OR on_conflict <> 'ignore') THEN
        RAISE EXCEPTION 'on_conflict and key_ttl need a key'
            USING ERRCODE = '22023', HINT = 'give key => text';
    ELSIF key_ttl <= interval '0' OR (key_ttl IS NOT NULL AND now() + least(key_ttl, interval '1000 years') > now() + interval '100 years') THEN
        RAISE EXCEPTION 'invalid key_ttl: %', key_ttl
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
        -- A separate statement: the owner may have committed while the insert waited for it.
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
    IS 'Pushes a task and returns the outcome: new; existing (a task has the key; nothing was changed); replaced (on_conflict => replace: the waiting task was changed); running (it has started and was not replaced). on_conflict => error raises error 23505. key_ttl: how long the key stays in use after the task is due, instead of the retention.';

CREATE OR REPLACE FUNCTION {{schema}}.push_task(handler text, args json, queue text DEFAULT 'default', priority integer DEFAULT 0,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, retries integer DEFAULT NULL, key text DEFAULT NULL,
    on_conflict text DEFAULT 'ignore', key_ttl interval DEFAULT NULL)
RETURNS TABLE (id bigint, outcome text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM {{schema}}.push_task(handler, args::text, queue, priority, delay, run_at, retries, key, on_conflict, key_ttl)
$$;
COMMENT ON FUNCTION {{schema}}.push_task(text, json, text, integer, interval, timestamptz, integer, text, text, interval)
    IS 'As push_task(text, text, ...), with arguments of type json.';

CREATE OR REPLACE FUNCTION {{schema}}.push_task(handler text, args jsonb, queue text DEFAULT 'default', priority integer DEFAULT 0,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, retries integer DEFAULT NULL, key text DEFAULT NULL,
    on_conflict text DEFAULT 'ignore', key_ttl interval DEFAULT NULL)
RETURNS TABLE (id bigint, outcome text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM {{schema}}.push_task(handler, args::text, queue, priority, delay, run_at, retries, key, on_conflict, key_ttl)
$$;
COMMENT ON FUNCTION {{schema}}.push_task(text, jsonb, text, integer, interval, timestamptz, integer, text, text, interval)
    IS 'As push_task(text, text, ...), with arguments of type jsonb.';
