-- A push of one task for a third of its cost. PostgreSQL reads the text of each CHECK
-- of a table anew for every statement that inserts: for one row that was two thirds of
-- the whole insert (150,000 of 224,000 instructions). So the rules of a runnable task
-- stand in the functions that everybody pushes with, and not a second time at the
-- table, which only its owner and runners may write.

ALTER TABLE {{schema}}.runnable_tasks
    DROP CONSTRAINT queue_name, DROP CONSTRAINT handler_name, DROP CONSTRAINT retries_count, DROP CONSTRAINT args_size;

-- As before, but a task that wants nothing special, which most do not, is checked and
-- stored without another function.
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
    -- What a null makes null is special as well.
    IF (handler !~ '[^A-Za-z0-9_.:-]' AND octet_length(handler) BETWEEN 1 AND 128
        AND queue !~ '[^A-Za-z0-9_.:-]' AND octet_length(queue) BETWEEN 1 AND 128
        AND octet_length(args) <= 1048576 AND coalesce(retries, 0) >= -1
        AND delay IS NULL AND run_at IS NULL AND key IS NULL) IS TRUE
    THEN
        INSERT INTO {{schema}}.runnable_tasks (queue, handler, priority, position, id, retries, args)
        VALUES (queue, handler, coalesce(priority, 0), task, task, retries, args::json);
        -- As in wake.
        IF EXISTS (SELECT FROM {{schema}}.runners WHERE sleeping AND expires_at > now()) THEN
            PERFORM pg_notify('{{channel}}', 'work');
        END IF;
        RETURN task;
    END IF;

    PERFORM {{schema}}.check_task(handler, args, queue, delay, run_at, retries, key);
    IF key IS NOT NULL THEN
        INSERT INTO {{schema}}.keys VALUES (queue, key, task) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            SELECT k.task_id INTO owner FROM {{schema}}.keys AS k WHERE k.queue = push.queue AND k.key = push.key;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'the idempotency key was pruned during the push'
                    USING ERRCODE = '40001', HINT = 'push again';
            END IF;
            RETURN owner;
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
    PERFORM {{schema}}.wake();
    RETURN task;
END $$;

-- As before, but with the rules of the table in it.
CREATE OR REPLACE FUNCTION {{schema}}.push_rows(handlers text[], args text[], queues text[], priorities integer[],
    delays interval[], run_ats timestamptz[], retries integer[], keys text[], parents bigint[])
RETURNS TABLE (id bigint, existed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    fresh bigint[] := ARRAY(SELECT nextval('{{schema}}.task_ids') FROM generate_series(1, cardinality(handlers)));
    owner bigint[] := fresh;
BEGIN
    -- Whatever is not plainly right is looked at, and told in words if it is wrong.
    PERFORM {{schema}}.check_task(n.handler, n.args, n.queue, n.delay, n.run_at, n.retries, n.key)
    FROM (
        SELECT unnest(handlers) AS handler, unnest(args) AS args, unnest(queues) AS queue, unnest(delays) AS delay,
               unnest(run_ats) AS run_at, unnest(retries) AS retries, unnest(keys) AS key) AS n
    WHERE (n.handler !~ '[^A-Za-z0-9_.:-]' AND octet_length(n.handler) BETWEEN 1 AND 128
           AND n.queue !~ '[^A-Za-z0-9_.:-]' AND octet_length(n.queue) BETWEEN 1 AND 128
           AND octet_length(n.args) <= 1048576 AND coalesce(n.retries, 0) >= -1
           AND n.delay IS NULL AND n.run_at IS NULL AND n.key IS NULL) IS NOT TRUE;

    IF cardinality(array_remove(keys, NULL)) + cardinality(array_remove(delays, NULL)) + cardinality(array_remove(run_ats, NULL))
        + cardinality(array_remove(retries, NULL)) + cardinality(array_remove(parents, NULL)) = 0
    THEN
        INSERT INTO {{schema}}.runnable_tasks (queue, handler, priority, position, id, args)
        SELECT n.queue, n.handler, n.priority, n.id, n.id, n.args::json
        FROM (
            SELECT unnest(fresh) AS id, unnest(handlers) AS handler, unnest(args) AS args,
                   unnest(queues) AS queue, unnest(priorities) AS priority) AS n;
        PERFORM {{schema}}.wake();
        RETURN QUERY SELECT unnest(fresh), false;
        RETURN;
    END IF;

    IF cardinality(array_remove(keys, NULL)) > 0 THEN
        -- In key order, so that two pushers cannot wait for each other.
        INSERT INTO {{schema}}.keys (queue, key, task_id)
        SELECT n.queue, n.key, n.id
        FROM unnest(queues, keys, fresh) WITH ORDINALITY AS n (queue, key, id, ordinal)
        WHERE n.key IS NOT NULL
        ORDER BY n.queue COLLATE "C", n.key COLLATE "C", n.ordinal
        ON CONFLICT DO NOTHING;
        -- A statement of its own: the owner may have committed while the insert waited for it.
        owner := ARRAY(
            SELECT CASE WHEN n.key IS NULL THEN n.id ELSE k.task_id END
            FROM unnest(queues, keys, fresh) WITH ORDINALITY AS n (queue, key, id, ordinal)
            LEFT JOIN {{schema}}.keys AS k ON k.queue = n.queue AND k.key = n.key
            ORDER BY n.ordinal);
        IF array_position(owner, NULL) IS NOT NULL THEN
            RAISE EXCEPTION 'an idempotency key was pruned during the push'
                USING ERRCODE = '40001', HINT = 'push again';
        END IF;
    END IF;

    WITH task AS MATERIALIZED (
        SELECT n.*, coalesce(n.run_at, now() + n.delay, now()) AS due_at
        FROM (
            SELECT unnest(fresh) AS id, unnest(owner) AS owner, unnest(handlers) AS handler, unnest(args) AS args,
                   unnest(queues) AS queue, unnest(priorities) AS priority, unnest(delays) AS delay, unnest(run_ats) AS run_at,
                   unnest(retries) AS retries, unnest(keys) AS key, unnest(parents) AS parent) AS n
        WHERE n.id = n.owner
    ), later AS (
        INSERT INTO {{schema}}.scheduled_tasks (id, queue, handler, priority, retries, run_at, key, parent, args)
        SELECT t.id, t.queue, t.handler, t.priority, t.retries, t.due_at, t.key, t.parent, t.args::json
        FROM task AS t WHERE t.due_at > now()
    )
    INSERT INTO {{schema}}.runnable_tasks (queue, handler, priority, position, id, retries, key, parent, args)
    SELECT t.queue, t.handler, t.priority, t.id, t.id, t.retries, t.key, t.parent, t.args::json
    FROM task AS t WHERE t.due_at <= now();

    PERFORM {{schema}}.wake();
    RETURN QUERY
        SELECT n.owner, n.owner <> n.id
        FROM (SELECT unnest(owner) AS owner, unnest(fresh) AS id) AS n;
END $$;
