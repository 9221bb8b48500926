-- Push from SQL, in the caller's transaction.

CREATE OR REPLACE FUNCTION {{schema}}.retention() RETURNS interval
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce((SELECT s.value::interval FROM {{schema}}.settings AS s WHERE s.name = 'retention'), interval '7 days');
END $$;
COMMENT ON FUNCTION {{schema}}.retention() IS 'How long history is kept, from the last call of prune: the default lifetime of an idempotency key.';

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
            USING ERRCODE = '22004', HINT = 'write ''{}'' for no arguments';
    ELSIF octet_length(args) > 1048576 THEN
        RAISE EXCEPTION 'the arguments have % bytes, at most 1048576 are allowed', octet_length(args)
            USING ERRCODE = '22023', HINT = 'store the data elsewhere and push a reference to it';
    -- By the first character: text that begins with [ or { is parsed once, when it is stored.
    ELSIF ascii(args) NOT IN (91, 123) AND json_typeof(args::json) NOT IN ('object', 'array') THEN
        RAISE EXCEPTION 'the arguments are JSON of type %, not an object or array', json_typeof(args::json)
            USING ERRCODE = '22023', HINT = 'write {"name": value} for parameters by name, [value] for parameters by position, {} for none';
    ELSIF delay < interval '0' THEN
        RAISE EXCEPTION 'the delay % is negative', delay
            USING ERRCODE = '22023', HINT = 'leave the delay out to run at once';
    ELSIF delay IS NOT NULL AND run_at IS NOT NULL THEN
        RAISE EXCEPTION 'both delay and run_at are given'
            USING ERRCODE = '22023', HINT = 'give one of them';
    ELSIF NOT isfinite(run_at) THEN
        RAISE EXCEPTION 'run_at is infinite'
            USING ERRCODE = '22023', HINT = 'give a moment in time';
    -- Limited first, because the sum would overflow. Intervals are not compared: their year
    -- has 360 days.
    ELSIF (run_at IS NOT NULL OR delay IS NOT NULL)
        AND coalesce(run_at, now() + least(delay, interval '1000 years')) > now() + interval '100 years'
    THEN
        RAISE EXCEPTION 'the task would not run for a century'
            USING ERRCODE = '22023', HINT = 'give a delay or run_at within 100 years';
    ELSIF retries < -1 THEN
        RAISE EXCEPTION 'retries is %', retries
            USING ERRCODE = '22023', HINT = 'give 0 or more, -1 for no limit, or leave it out for the handler''s policy';
    ELSIF octet_length(key) NOT BETWEEN 1 AND 512 THEN
        RAISE EXCEPTION 'the key has % bytes, 1 to 512 are allowed', octet_length(key)
            USING ERRCODE = '22023', HINT = 'use a short key, for example a hash of a long one';
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.check_task(text, text, text, interval, timestamptz, integer, text) IS 'Rejects an invalid task, with a hint.';

-- Pushes many tasks, also from the runner. `scopes` contains the scope of each key: NULL
-- for an application, the plugin's name for a child task. Keys of different scopes never
-- conflict.
CREATE OR REPLACE FUNCTION {{schema}}.push_rows(handlers text[], args text[], queues text[], priorities integer[],
    delays interval[], run_ats timestamptz[], retries integer[], keys text[], parents bigint[],
    scopes text[] DEFAULT NULL)
RETURNS TABLE (id bigint, existed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    fresh bigint[] := ARRAY(SELECT nextval('{{schema}}.task_ids') FROM generate_series(1, cardinality(handlers)));
    owner bigint[] := fresh;
BEGIN
    IF NOT (cardinality(args) = cardinality(handlers) AND cardinality(queues) = cardinality(handlers)
        AND cardinality(priorities) = cardinality(handlers) AND cardinality(delays) = cardinality(handlers)
        AND cardinality(run_ats) = cardinality(handlers) AND cardinality(retries) = cardinality(handlers)
        AND cardinality(keys) = cardinality(handlers) AND cardinality(parents) = cardinality(handlers)
        AND coalesce(cardinality(scopes), cardinality(handlers)) = cardinality(handlers)) IS TRUE
        OR array_position(priorities, NULL) IS NOT NULL
    THEN
        RAISE EXCEPTION 'the arrays do not describe the same tasks'
            USING ERRCODE = '22023', HINT = 'give arrays of one length, with NULL for what a task does not have, and a priority for each';
    END IF;
    -- A task that fails this check is checked in full, for the error and its hint.
    PERFORM {{schema}}.check_task(n.handler, n.args, n.queue, n.delay, n.run_at, n.retries, n.key)
    FROM (
        SELECT unnest(handlers) AS handler, unnest(args) AS args, unnest(queues) AS queue, unnest(delays) AS delay,
               unnest(run_ats) AS run_at, unnest(retries) AS retries, unnest(keys) AS key) AS n
    WHERE (n.handler !~ '[^A-Za-z0-9_.:-]' AND octet_length(n.handler) BETWEEN 1 AND 128
           AND n.queue !~ '[^A-Za-z0-9_.:-]' AND octet_length(n.queue) BETWEEN 1 AND 128
           AND octet_length(n.args) <= 1048576 AND ascii(n.args) IN (91, 123) AND coalesce(n.retries, 0) >= -1
           AND n.delay IS NULL AND n.run_at IS NULL AND n.key IS NULL) IS NOT TRUE;

    IF cardinality(array_remove(keys, NULL)) + cardinality(array_remove(delays, NULL)) + cardinality(array_remove(run_ats, NULL))
        + cardinality(array_remove(retries, NULL)) + cardinality(array_remove(parents, NULL)) = 0
    THEN
        INSERT INTO {{schema}}.runnable_tasks (queue, handler, priority, position, id, args)
        SELECT n.queue, n.handler, n.priority, n.id, n.id, n.args::json
        FROM (
            SELECT unnest(fresh) AS id, unnest(handlers) AS handler, unnest(args) AS args,
                   unnest(queues) AS queue, unnest(priorities) AS priority) AS n;
        PERFORM {{schema}}.wake(queues);
        RETURN QUERY SELECT unnest(fresh), false;
        RETURN;
    END IF;

    IF cardinality(array_remove(keys, NULL)) > 0 THEN
        IF EXISTS (SELECT FROM unnest(scopes) AS s WHERE octet_length(s) > 1024) THEN
            RAISE EXCEPTION 'a scope has more than 1024 bytes'
                USING ERRCODE = '22023', HINT = 'scopes are names of plugins';
        END IF;
        -- In key order, so that two pushers cannot wait for each other.
        INSERT INTO {{schema}}.keys (queue, key, scope, task_id, expires_at, handler, priority)
        SELECT n.queue, n.key, coalesce(n.scope, ''), n.id, coalesce(n.run_at, now() + n.delay, now()) + (SELECT {{schema}}.retention()), n.handler, n.priority
        FROM (
            SELECT unnest(queues) AS queue, unnest(keys) AS key, unnest(scopes) AS scope, unnest(fresh) AS id, unnest(delays) AS delay,
                   unnest(run_ats) AS run_at, unnest(handlers) AS handler, unnest(priorities) AS priority,
                   generate_series(1, cardinality(handlers)) AS ordinal) AS n
        WHERE n.key IS NOT NULL
        ORDER BY n.queue COLLATE "C", n.key COLLATE "C", coalesce(n.scope, '') COLLATE "C", n.ordinal
        ON CONFLICT DO NOTHING;
        -- A separate statement: the owner may have committed while the insert waited for it.
        owner := ARRAY(
            SELECT CASE
                WHEN n.key IS NULL THEN n.id
                WHEN k.expires_at > now() OR k.task_id = n.id THEN k.task_id
                ELSE {{schema}}.take_key(n.queue, n.key, coalesce(n.scope, ''), n.id, n.handler, n.priority,
                                         coalesce(n.run_at, now() + n.delay, now()) + {{schema}}.retention()) END
            FROM unnest(queues, keys, scopes, fresh, handlers, priorities, run_ats, delays) WITH ORDINALITY
                AS n (queue, key, scope, id, handler, priority, run_at, delay, ordinal)
            LEFT JOIN {{schema}}.keys AS k ON k.queue = n.queue AND k.key = n.key AND k.scope = coalesce(n.scope, '')
            ORDER BY n.ordinal);
        IF array_position(owner, NULL) IS NOT NULL THEN
            RAISE EXCEPTION 'an idempotency key was deleted during the push'
                USING ERRCODE = '40001', HINT = 'push again';
        END IF;
    END IF;

    -- The task carries the scope of its key, for a retry after the key was pruned.
    WITH task AS MATERIALIZED (
        SELECT n.*, coalesce(n.run_at, now() + n.delay, now()) AS due_at,
               CASE WHEN n.key IS NOT NULL AND n.scope <> '' THEN jsonb_build_object('_scope', n.scope) END AS traits
        FROM (
            SELECT unnest(fresh) AS id, unnest(owner) AS owner, unnest(handlers) AS handler, unnest(args) AS args,
                   unnest(queues) AS queue, unnest(priorities) AS priority, unnest(delays) AS delay, unnest(run_ats) AS run_at,
                   unnest(retries) AS retries, unnest(keys) AS key, unnest(parents) AS parent, unnest(scopes) AS scope) AS n
        WHERE n.id = n.owner
    ), later AS (
        INSERT INTO {{schema}}.scheduled_tasks (id, queue, handler, priority, retries, run_at, key, parent, traits, args)
        SELECT t.id, t.queue, t.handler, t.priority, t.retries, t.due_at, t.key, t.parent, t.traits, t.args::json
        FROM task AS t WHERE t.due_at > now()
    )
    INSERT INTO {{schema}}.runnable_tasks (queue, handler, priority, position, id, retries, key, parent, traits, args)
    SELECT t.queue, t.handler, t.priority, t.id, t.id, t.retries, t.key, t.parent, t.traits, t.args::json
    FROM task AS t WHERE t.due_at <= now();

    PERFORM {{schema}}.wake(queues);
    RETURN QUERY
        SELECT n.owner, n.owner <> n.id
        FROM (SELECT unnest(owner) AS owner, unnest(fresh) AS id) AS n;
END $$;
COMMENT ON FUNCTION {{schema}}.push_rows(text[], text[], text[], integer[], interval[], timestamptz[], integer[], text[], bigint[], text[])
    IS 'Pushes many tasks, one array for each field; parents and scopes are those of child tasks. For runners.';

CREATE OR REPLACE FUNCTION {{schema}}.push_arrays(handlers text[], args text[], queues text[], priorities integer[],
    delays interval[], run_ats timestamptz[], retries integer[], keys text[])
RETURNS TABLE (id bigint, existed boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM {{schema}}.push_rows(handlers, args, queues, priorities, delays, run_ats, retries, keys,
                                       array_fill(NULL::bigint, ARRAY[cardinality(handlers)]))
$$;
COMMENT ON FUNCTION {{schema}}.push_arrays(text[], text[], text[], integer[], interval[], timestamptz[], integer[], text[])
    IS 'Pushes many tasks, one array for each field. For programs; see also push_many.';

-- Checks and stores a task without options, without calling another function: a third of
-- the cost.
CREATE OR REPLACE FUNCTION {{schema}}.push(handler text, args text DEFAULT '{}', queue text DEFAULT 'default', priority integer DEFAULT 0,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, retries integer DEFAULT NULL, key text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    task bigint := nextval('{{schema}}.task_ids');
    due timestamptz;
    owner bigint;
BEGIN
    -- An option that is null takes the other path, too.
    IF (handler !~ '[^A-Za-z0-9_.:-]' AND octet_length(handler) BETWEEN 1 AND 128
        AND queue !~ '[^A-Za-z0-9_.:-]' AND octet_length(queue) BETWEEN 1 AND 128
        AND octet_length(args) <= 1048576 AND ascii(args) IN (91, 123) AND coalesce(retries, 0) >= -1
        AND delay IS NULL AND run_at IS NULL AND key IS NULL) IS TRUE
    THEN
        INSERT INTO {{schema}}.runnable_tasks (queue, handler, priority, position, id, retries, args)
        VALUES (queue, handler, coalesce(priority, 0), task, task, retries, args::json);
        -- Almost always no flag is set, and the function returns here.
        IF pg_sequence_last_value((ARRAY[
            '{{schema}}.wake_0'::regclass, '{{schema}}.wake_1'::regclass, '{{schema}}.wake_2'::regclass, '{{schema}}.wake_3'::regclass,
            '{{schema}}.wake_4'::regclass, '{{schema}}.wake_5'::regclass, '{{schema}}.wake_6'::regclass, '{{schema}}.wake_7'::regclass,
            '{{schema}}.wake_8'::regclass, '{{schema}}.wake_9'::regclass, '{{schema}}.wake_10'::regclass, '{{schema}}.wake_11'::regclass,
            '{{schema}}.wake_12'::regclass, '{{schema}}.wake_13'::regclass, '{{schema}}.wake_14'::regclass, '{{schema}}.wake_15'::regclass])[1 + (hashtext(queue) & 15)]) % 1024 = 0
        THEN
            PERFORM {{schema}}.wake(ARRAY[queue]);
        END IF;
        RETURN task;
    END IF;

    PERFORM {{schema}}.check_task(handler, args, queue, delay, run_at, retries, key);
    IF key IS NOT NULL THEN
        INSERT INTO {{schema}}.keys (queue, key, task_id, expires_at, handler, priority)
        VALUES (queue, key, task, coalesce(run_at, now() + delay, now())
                + coalesce((SELECT s.value::interval FROM {{schema}}.settings AS s WHERE s.name = 'retention'), '7 days'),
                handler, coalesce(priority, 0))
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            -- A separate statement: the owner may have committed while the insert waited for it.
            SELECT k.task_id, k.expires_at INTO owner, due FROM {{schema}}.keys AS k
            WHERE k.queue = push.queue AND k.key = push.key AND k.scope = '';
            IF due <= now() THEN
                owner := {{schema}}.take_key(queue, key, '', task, handler, coalesce(priority, 0),
                                             coalesce(run_at, now() + delay, now()) + {{schema}}.retention());
            END IF;
            IF owner IS NULL THEN
                RAISE EXCEPTION 'the idempotency key was deleted during the push'
                    USING ERRCODE = '40001', HINT = 'push again';
            ELSIF owner <> task THEN
                RETURN owner;
            END IF;
        END IF;
    END IF;
    due := coalesce(run_at, now() + delay, now());
    IF due > now() THEN
        INSERT INTO {{schema}}.scheduled_tasks (id, queue, handler, priority, retries, run_at, key, args)
        VALUES (task, queue, handler, coalesce(priority, 0), retries, due, key, args::json);
    ELSE
        INSERT INTO {{schema}}.runnable_tasks (queue, handler, priority, position, id, retries, key, args)
        VALUES (queue, handler, coalesce(priority, 0), task, task, retries, key, args::json);
    END IF;
    PERFORM {{schema}}.wake(ARRAY[queue]);
    RETURN task;
END $$;
COMMENT ON FUNCTION {{schema}}.push(text, text, text, integer, interval, timestamptz, integer, text)
    IS 'Pushes a task and returns its id. args is JSON text. A lower priority runs earlier. retries -1 means no limit. If a task has the key, push returns its id.';

-- args has no default here, because push(handler) would be ambiguous.
CREATE OR REPLACE FUNCTION {{schema}}.push(handler text, args json, queue text DEFAULT 'default', priority integer DEFAULT 0,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, retries integer DEFAULT NULL, key text DEFAULT NULL)
RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {{schema}}.push(handler, args::text, queue, priority, delay, run_at, retries, key)
$$;
COMMENT ON FUNCTION {{schema}}.push(text, json, text, integer, interval, timestamptz, integer, text)
    IS 'Pushes a task with arguments of type json.';

CREATE OR REPLACE FUNCTION {{schema}}.push(handler text, args jsonb, queue text DEFAULT 'default', priority integer DEFAULT 0,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, retries integer DEFAULT NULL, key text DEFAULT NULL)
RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {{schema}}.push(handler, args::text, queue, priority, delay, run_at, retries, key)
$$;
COMMENT ON FUNCTION {{schema}}.push(text, jsonb, text, integer, interval, timestamptz, integer, text)
    IS 'Pushes a task with arguments of type jsonb.';

CREATE OR REPLACE FUNCTION {{schema}}.push_many(tasks anycompatible) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    list json := tasks::text::json;
    stranger text;
    place bigint;
    kind text;
BEGIN
    IF json_typeof(list) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'the tasks are not a JSON array'
            USING ERRCODE = '22023', HINT = 'write [{"handler": "name", "args": {}}, ...]';
    END IF;
    SELECT t.place, json_typeof(t.task) INTO place, kind
    FROM json_array_elements(list) WITH ORDINALITY AS t (task, place) WHERE json_typeof(t.task) <> 'object' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'task % of the array is JSON of type %, not an object', place, kind
            USING ERRCODE = '22023', HINT = 'write [{"handler": "name", "args": {}}, ...]';
    END IF;
    SELECT t.place, coalesce(json_typeof(t.task -> 'handler'), 'null') INTO place, kind
    FROM json_array_elements(list) WITH ORDINALITY AS t (task, place) WHERE json_typeof(t.task -> 'handler') IS DISTINCT FROM 'string' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the handler of task % of the array is JSON of type %, not a string', place, kind
            USING ERRCODE = '22023', HINT = 'write [{"handler": "name", "args": {}}, ...]';
    END IF;
    SELECT t.place, f.name INTO place, stranger
    FROM json_array_elements(list) WITH ORDINALITY AS t (task, place), json_object_keys(t.task) AS f (name)
    WHERE f.name NOT IN ('handler', 'args', 'queue', 'priority', 'delay', 'run_at', 'retries', 'key') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'task % of the array has the unknown field %', place, quote_literal(stranger)
            USING ERRCODE = '22023', HINT = 'known are handler, args, queue, priority, delay, run_at, retries, key';
    END IF;
    PERFORM {{schema}}.check_task(t.handler, coalesce(t.args::text, '{}'), coalesce(t.queue, 'default'), t.delay, t.run_at, t.retries, t.key)
    FROM json_to_recordset(list)
        AS t (handler text, args json, queue text, delay interval, run_at timestamptz, retries integer, key text);
    RETURN QUERY
        SELECT p.id
        FROM (
            SELECT array_agg(t.handler) AS handlers, array_agg(coalesce(t.args::text, '{}')) AS args,
                   array_agg(coalesce(t.queue, 'default')) AS queues, array_agg(coalesce(t.priority, 0)) AS priorities,
                   array_agg(t.delay) AS delays, array_agg(t.run_at) AS run_ats, array_agg(t.retries) AS retries,
                   array_agg(t.key) AS keys, array_agg(NULL::bigint) AS parents
            FROM json_to_recordset(list)
                AS t (handler text, args json, queue text, priority integer, delay interval, run_at timestamptz, retries integer, key text)
            HAVING count(*) > 0
        ) AS a,
        LATERAL {{schema}}.push_rows(a.handlers, a.args, a.queues, a.priorities, a.delays, a.run_ats, a.retries, a.keys, a.parents) AS p;
END $$;
COMMENT ON FUNCTION {{schema}}.push_many(anycompatible)
    IS 'Pushes the tasks of a JSON array (text, json or jsonb) of objects with the fields of push, all or none. Returns their ids in this order.';

CREATE OR REPLACE FUNCTION {{schema}}.push_many(handler text, args anycompatiblearray, queue text DEFAULT 'default', priority integer DEFAULT 0,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, retries integer DEFAULT NULL)
RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    n integer := cardinality(args);
    at bigint;
BEGIN
    IF args IS NULL THEN
        RAISE EXCEPTION 'the array of arguments is null'
            USING ERRCODE = '22004', HINT = 'give an array with the arguments of each task; an empty one pushes none';
    END IF;
    SELECT a.place INTO at FROM unnest(args) WITH ORDINALITY AS a (one, place) WHERE a.one IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'element % of the array of arguments is null', at
            USING ERRCODE = '22004', HINT = 'write ''{}'' for no arguments';
    END IF;
    PERFORM {{schema}}.check_task(handler, one::text, queue, delay, run_at, retries, NULL) FROM unnest(args) AS one;
    RETURN QUERY
        SELECT p.id
        FROM {{schema}}.push_rows(
            array_fill(handler, ARRAY[n]), ARRAY(SELECT one::text FROM unnest(args) AS one),
            array_fill(queue, ARRAY[n]), array_fill(coalesce(priority, 0), ARRAY[n]), array_fill(delay, ARRAY[n]),
            array_fill(run_at, ARRAY[n]), array_fill(retries, ARRAY[n]), array_fill(NULL::text, ARRAY[n]),
            array_fill(NULL::bigint, ARRAY[n])) AS p;
END $$;
COMMENT ON FUNCTION {{schema}}.push_many(text, anycompatiblearray, text, integer, interval, timestamptz, integer)
    IS 'Pushes one task of a handler for each element of args (text[], json[] or jsonb[]), all or none. Returns their ids in this order.';
