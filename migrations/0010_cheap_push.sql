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
            SELECT k.task_id INTO owner FROM {{schema}}.keys AS k WHERE k.queue = push.queue AND k.key = push.key AND k.scope = '';
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
