-- The API of workers in any language: pop, complete, fail, release, extend, log, progress, tend.
--
-- Each popped task is a row of its own with a random token. Every ending deletes that row
-- first: two endings of one attempt conflict on it at every isolation level, and none of
-- them reads history or attempts.
--
-- Plans are made once for a session, perhaps when the tables are empty: the settings of
-- the functions see to it that they use indexes, and are not compiled at each call.

-- For functions that look for a task in several tables, each with a new snapshot.
-- What changes one row needs no such check: two of them conflict with 40001.
CREATE FUNCTION {{schema}}.need_read_committed(what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'cannot % at isolation level %', what, current_setting('transaction_isolation')
            USING ERRCODE = '25001', HINT = 'call it in a transaction of its own: BEGIN ISOLATION LEVEL READ COMMITTED';
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.need_read_committed(text) IS 'Refuses a snapshot that hides what others have committed. For the other functions.';

CREATE FUNCTION {{schema}}.check_lease(lease interval) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF lease IS NULL OR lease <= interval '0' THEN
        RAISE EXCEPTION 'the lease % is not positive', coalesce(lease::text, 'null')
            USING ERRCODE = '22023', HINT = 'give the time that the worker needs, for example interval ''5 minutes''';
    ELSIF lease > interval '30 days' THEN
        RAISE EXCEPTION 'the lease % is longer than 30 days', lease
            USING ERRCODE = '22023', HINT = 'give the time that the worker needs, and renew it with extend';
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.check_lease(interval) IS 'Rejects a lease that is not positive or too long. For pop and extend.';

-- The lanes (queue, handler, priority) that hold tasks, and where each begins. Known lanes
-- are read from lane_starts; between two of them one index probe finds a lane that is new.
-- Only these probes meet dead rows, and only of lanes that no tend has seen.
CREATE FUNCTION {{schema}}.worker_lanes(queues text[], handlers text[])
RETURNS TABLE (queue text, handler text, priority integer, head bigint, start bigint, checked_at timestamptz)
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH RECURSIVE segment AS MATERIALIZED (
            -- Exclusive bounds; no name of a handler sorts after '~', no priority is beyond 32 bits.
            SELECT q.queue, coalesce(h.handler, '') COLLATE "C" AS from_handler, -2147483649 AS from_priority,
                   coalesce(h.handler, '~') COLLATE "C" AS to_handler, 2147483648 AS to_priority
            FROM (SELECT DISTINCT u.queue COLLATE "C" AS queue FROM unnest(worker_lanes.queues) AS u (queue)) AS q
            LEFT JOIN (SELECT DISTINCT u.handler COLLATE "C" AS handler FROM unnest(worker_lanes.handlers) AS u (handler)) AS h ON true
            WHERE (worker_lanes.handlers IS NULL OR h.handler IS NOT NULL)
        ), known AS (
            SELECT s.*, g.from_handler, g.from_priority, g.to_handler, g.to_priority
            FROM segment AS g CROSS JOIN LATERAL (
                SELECT l.handler, l.priority, l.position, l.checked_at, l.queue FROM {{schema}}.lane_starts AS l
                WHERE l.queue = g.queue AND (l.handler, l.priority) > (g.from_handler, g.from_priority)
                  AND (l.handler, l.priority) < (g.to_handler, g.to_priority)
                ORDER BY l.queue DESC, l.handler DESC, l.priority DESC, l.position DESC LIMIT 1) AS s
            UNION ALL
            SELECT s.*, k.from_handler, k.from_priority, k.to_handler, k.to_priority
            FROM known AS k CROSS JOIN LATERAL (
                SELECT l.handler, l.priority, l.position, l.checked_at, l.queue FROM {{schema}}.lane_starts AS l
                WHERE l.queue = k.queue AND (l.handler, l.priority) > (k.from_handler, k.from_priority)
                  AND (l.handler, l.priority) < (k.handler, k.priority)
                ORDER BY l.queue DESC, l.handler DESC, l.priority DESC, l.position DESC LIMIT 1) AS s
        ), known_priority AS (
            SELECT k.queue, k.handler, k.priority::bigint AS priority FROM known AS k
            UNION SELECT k.queue, k.handler, -2147483649 FROM known AS k
            UNION SELECT g.queue, g.to_handler, -2147483649 FROM segment AS g WHERE worker_lanes.handlers IS NOT NULL
        ), known_handler AS (
            SELECT k.queue, k.handler FROM known AS k WHERE worker_lanes.handlers IS NULL
            UNION SELECT g.queue, '' COLLATE "C" FROM segment AS g WHERE worker_lanes.handlers IS NULL
        ), gap AS MATERIALIZED (
            -- Two kinds, because an index scan that is bounded by (handler, priority) < (x, y) reads all of x.
            SELECT p.queue, p.handler, p.priority, lead(p.priority, 1, 2147483648) OVER (PARTITION BY p.queue, p.handler ORDER BY p.priority) AS to_priority,
                   NULL AS to_handler
            FROM known_priority AS p
            UNION ALL
            SELECT h.queue, h.handler, NULL, NULL, lead(h.handler, 1, '~' COLLATE "C") OVER (PARTITION BY h.queue ORDER BY h.handler) FROM known_handler AS h
        ), fresh AS (
            SELECT f.*, coalesce(g.to_priority, 2147483648) AS to_priority, g.to_handler
            FROM gap AS g CROSS JOIN LATERAL (
                (SELECT r.queue, r.handler, r.priority, r.position FROM {{schema}}.runnable_tasks AS r
                 WHERE r.queue = g.queue AND r.handler = g.handler AND r.priority > g.priority AND r.priority < g.to_priority
                 ORDER BY r.priority, r.position LIMIT 1)
                UNION ALL
                (SELECT r.queue, r.handler, r.priority, r.position FROM {{schema}}.runnable_tasks AS r
                 WHERE r.queue = g.queue AND r.handler > g.handler AND r.handler < g.to_handler
                 ORDER BY r.handler, r.priority, r.position LIMIT 1)
                LIMIT 1) AS f
            UNION ALL
            SELECT f.*, g.to_priority, g.to_handler
            FROM fresh AS g CROSS JOIN LATERAL (
                (SELECT r.queue, r.handler, r.priority, r.position FROM {{schema}}.runnable_tasks AS r
                 WHERE r.queue = g.queue AND r.handler = g.handler AND r.priority > g.priority AND r.priority < g.to_priority
                 ORDER BY r.priority, r.position LIMIT 1)
                UNION ALL
                (SELECT r.queue, r.handler, r.priority, r.position FROM {{schema}}.runnable_tasks AS r
                 WHERE r.queue = g.queue AND r.handler > g.handler AND r.handler < g.to_handler
                 ORDER BY r.handler, r.priority, r.position LIMIT 1)
                LIMIT 1) AS f
        )
        SELECT k.queue, k.handler, k.priority, h.position, k.position, k.checked_at
        FROM known AS k LEFT JOIN LATERAL (
            SELECT r.position FROM {{schema}}.runnable_tasks AS r
            WHERE r.queue = k.queue AND r.handler = k.handler AND r.priority = k.priority
              -- Without a tend nothing is known of tasks whose transaction took long.
              AND r.position >= CASE WHEN k.checked_at > statement_timestamp() - interval '1 minute' THEN k.position ELSE -9223372036854775808 END
            ORDER BY r.queue, r.handler, r.priority, r.position LIMIT 1) AS h ON true
        UNION ALL
        SELECT f.queue, f.handler, f.priority, f.position, NULL::bigint, NULL::timestamptz FROM fresh AS f;
END $$;
COMMENT ON FUNCTION {{schema}}.worker_lanes(text[], text[])
    IS 'The lanes of these queues (and handlers), and the position of the first task of each. For pop and tend.';

-- A damaged row must not stop the others. What reads one leaves it out for ten minutes of
-- its session; then somebody may have mended it. First the time, then the tasks.
CREATE FUNCTION {{schema}}.unreadable_tasks() RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    noted bigint[] := string_to_array(current_setting('pgtq.unreadable_{{schema_name}}', true), ',');
BEGIN
    RETURN CASE WHEN noted[1] > extract(epoch FROM now()) - 600 THEN noted[2:] ELSE '{}' END;
END $$;
COMMENT ON FUNCTION {{schema}}.unreadable_tasks() IS 'The tasks that this session has found to be unreadable within ten minutes. For promote, pop and tend.';

CREATE FUNCTION {{schema}}.note_unreadable(task bigint, reason text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known bigint[] := {{schema}}.unreadable_tasks();
BEGIN
    IF task = ANY (known) THEN
        RETURN;
    END IF;
    RAISE WARNING 'task % cannot be read and is left out: %', task, reason
        USING HINT = 'restore its row, or delete it with pgtq.delete_tasks';
    PERFORM set_config('pgtq.unreadable_{{schema_name}}', array_to_string(
        CASE WHEN known = '{}' THEN extract(epoch FROM now())::bigint
             ELSE split_part(current_setting('pgtq.unreadable_{{schema_name}}'), ',', 1)::bigint END || known || task, ','), false);
END $$;
COMMENT ON FUNCTION {{schema}}.note_unreadable(bigint, text) IS 'Names a task that cannot be read, once a session and ten minutes. For stored_bytes and client_bytes.';

CREATE FUNCTION {{schema}}.stored_bytes(task bigint, args json, traits jsonb, key text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM args::text, traits::text, hashtext(key);
    RETURN pg_column_size(args);
EXCEPTION WHEN data_corrupted OR index_corrupted OR character_not_in_repertoire OR untranslatable_character THEN
    PERFORM {{schema}}.note_unreadable(task, SQLERRM);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION {{schema}}.stored_bytes(bigint, json, jsonb, text)
    IS 'How many bytes the arguments have as they are stored; null: a value of the task cannot be read. For promote and tend.';

CREATE FUNCTION {{schema}}.client_bytes(task bigint, args json, traits jsonb, key text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM traits::text, hashtext(key);
    -- As the server will do when it sends them.
    IF pg_client_encoding() <> getdatabaseencoding() AND pg_client_encoding() <> 'SQL_ASCII' THEN
        PERFORM convert_to(args::text, pg_client_encoding()), convert_to(key, pg_client_encoding());
    END IF;
    RETURN octet_length(args::text);
EXCEPTION WHEN data_corrupted OR index_corrupted OR character_not_in_repertoire OR untranslatable_character THEN
    PERFORM {{schema}}.note_unreadable(task, SQLERRM);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION {{schema}}.client_bytes(bigint, json, jsonb, text)
    IS 'How many bytes the arguments have; null: the server cannot read a value of the task, or send it to this client. For pop.';

CREATE FUNCTION {{schema}}.note_worker(worker text, queues text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM {{schema}}.worker_sessions AS s
        WHERE s.name = note_worker.worker AND s.pid = pg_backend_pid() AND s.queues = note_worker.queues
          AND s.seen_at > clock_timestamp() - interval '10 seconds')
    THEN
        INSERT INTO {{schema}}.worker_sessions AS s (name, pid, role, queues, seen_at)
        VALUES (note_worker.worker, pg_backend_pid(), session_user, note_worker.queues, clock_timestamp())
        ON CONFLICT ON CONSTRAINT worker_sessions_pkey DO UPDATE
        SET role = EXCLUDED.role, queues = EXCLUDED.queues, seen_at = EXCLUDED.seen_at;
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.note_worker(text, text[]) IS 'Notes which queues this session works on. For pop.';

-- Only takes: tend promotes and takes back expired leases. A worker that keeps its
-- transaction open holds what it popped, and nothing else.
CREATE FUNCTION {{schema}}.pop(INOUT queue text DEFAULT NULL, n integer DEFAULT 1, handlers text[] DEFAULT NULL,
    lease interval DEFAULT '5 minutes', queues text[] DEFAULT NULL, worker text DEFAULT NULL,
    OUT id bigint, OUT token uuid, OUT handler text, OUT args json, OUT attempt integer, OUT retries integer, OUT priority integer,
    OUT pushed_at timestamptz, OUT due_at timestamptz, OUT key text, OUT parent bigint, OUT expires_at timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    wanted text[] := coalesce(pop.queues, ARRAY[coalesce(pop.queue, 'default')]);
    holder text := coalesce(pop.worker, session_user);
    most integer := pop.n;
    most_bytes bigint := 33554432;
    in_queues text[];
    of_handlers text[];
    priorities integer[];
    heads bigint[];
    task record;
    here integer := 1;
    last integer;
    cut bigint;
    look integer;
    left_out bigint[] := CASE WHEN current_setting('pgtq.unreadable_{{schema_name}}', true) <> '' THEN {{schema}}.unreadable_tasks() ELSE '{}' END;
    n_left_out integer;
    -- Values of less are stored in the row itself.
    reads_from integer := CASE WHEN pg_client_encoding() IN (getdatabaseencoding(), 'SQL_ASCII') THEN 1000 ELSE 0 END;
BEGIN
    IF pop.n IS NULL OR pop.n NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'n is %', coalesce(pop.n::text, 'null') USING ERRCODE = '22023', HINT = 'pop 1 to 10000 tasks';
    ELSIF pop.queue IS NOT NULL AND pop.queues IS NOT NULL THEN
        RAISE EXCEPTION 'both queue and queues are given' USING ERRCODE = '22023', HINT = 'give one of them';
    ELSIF cardinality(wanted) NOT BETWEEN 1 AND 1000 OR array_position(wanted, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'queues has % elements, or one that is null', cardinality(wanted)
            USING ERRCODE = '22023', HINT = 'name 1 to 1000 queues';
    ELSIF cardinality(pop.handlers) = 0 OR array_position(pop.handlers, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'handlers has % elements, or one that is null', cardinality(pop.handlers)
            USING ERRCODE = '22023', HINT = 'name the handlers, or leave handlers out for tasks of all of them';
    ELSIF octet_length(holder) NOT BETWEEN 1 AND 128 THEN
        RAISE EXCEPTION 'the worker''s name has % bytes', octet_length(holder) USING ERRCODE = '22023', HINT = 'use 1 to 128 bytes';
    END IF;
    PERFORM {{schema}}.check_lease(pop.lease);
    PERFORM {{schema}}.need_read_committed('pop');
    PERFORM {{schema}}.note_worker(holder, wanted);

    SELECT array_agg(l.queue), array_agg(l.handler), array_agg(l.priority), array_agg(l.head)
    INTO in_queues, of_handlers, priorities, heads
    FROM (
        SELECT w.* FROM {{schema}}.worker_lanes(wanted, pop.handlers) AS w
        WHERE w.head IS NOT NULL
          AND NOT EXISTS (SELECT FROM {{schema}}.pauses AS p WHERE p.kind = 'queue' AND p.name = w.queue)
          AND NOT EXISTS (SELECT FROM {{schema}}.pauses AS p WHERE p.kind = 'handler' AND p.name = w.handler)
        ORDER BY w.priority, w.head) AS l;

    -- One priority after the other; within it the oldest tasks of all its lanes.
    WHILE here <= cardinality(priorities) AND most > 0 AND most_bytes > 0 LOOP
        last := here;
        WHILE priorities[last + 1] = priorities[here] LOOP
            last := last + 1;
        END LOOP;
        look := least(most, 500);
        LOOP
            cut := NULL;
            IF last > here AND look = 1 THEN
                cut := heads[here];
            ELSIF last > here THEN
                -- Up to which position there are enough tasks, not counting what others hold.
                SELECT c.position INTO cut
                FROM unnest(in_queues[here:last], of_handlers[here:last], heads[here:last]) AS l (queue, handler, head)
                CROSS JOIN LATERAL (
                    SELECT r.position FROM {{schema}}.runnable_tasks AS r
                    WHERE r.queue = l.queue AND r.handler = l.handler AND r.priority = priorities[here] AND r.position >= l.head
                    ORDER BY r.position LIMIT look) AS c
                ORDER BY c.position OFFSET look - 1 LIMIT 1;
            END IF;
            FOR task IN
                WITH picked AS MATERIALIZED (
                    SELECT one.*
                    FROM unnest(in_queues[here:last], of_handlers[here:last], heads[here:last]) AS l (queue, handler, head)
                    CROSS JOIN LATERAL (
                        SELECT r.ctid, r.position, pg_column_size(r.args)::bigint AS stored,
                               coalesce(pg_column_size(r.traits), 0) + coalesce(pg_column_size(r.key), 0) AS others
                        FROM {{schema}}.runnable_tasks AS r
                        WHERE r.queue = l.queue AND r.handler = l.handler AND r.priority = priorities[here]
                          AND r.position >= l.head AND r.position <= coalesce(cut, 9223372036854775807) AND r.id <> ALL (left_out)
                        ORDER BY r.position LIMIT most FOR UPDATE SKIP LOCKED) AS one
                    LIMIT most
                ), near AS MATERIALIZED (
                    -- What is stored compressed is larger than it looks, and is read only if it may be wanted.
                    SELECT p.*, sum(p.stored) OVER (ORDER BY p.position) - p.stored AS before FROM picked AS p
                ), sized AS MATERIALIZED (
                    SELECT n.ctid, n.position, CASE WHEN n.stored + n.others < reads_from THEN n.stored
                                                    ELSE {{schema}}.client_bytes(r.id, r.args, r.traits, r.key) END AS bytes
                    FROM near AS n JOIN {{schema}}.runnable_tasks AS r ON r.ctid = n.ctid WHERE n.before < most_bytes
                ), fitting AS MATERIALIZED (
                    SELECT s.ctid, sum(s.bytes) OVER (ORDER BY s.position) - s.bytes AS before FROM sized AS s
                ), gone AS (
                    DELETE FROM {{schema}}.runnable_tasks AS r
                    WHERE r.ctid = ANY (ARRAY(SELECT f.ctid FROM fitting AS f WHERE f.before < most_bytes)) RETURNING r.*
                )
                INSERT INTO {{schema}}.popped AS p ({{carried}}, task_id, token, claim_id, worker, popped_at, expires_at, attempts, crashes, due_at)
                SELECT {{carried g}}, g.id, gen_random_uuid(), nextval('{{schema}}.claim_ids'), holder, clock_timestamp(),
                       clock_timestamp() + pop.lease, g.attempts, g.crashes, g.due_at
                FROM (SELECT * FROM gone ORDER BY position) AS g
                RETURNING p.*
            LOOP
                queue := task.queue; id := task.task_id; token := task.token; handler := task.handler; args := task.args;
                attempt := task.attempts + 1; retries := task.retries; priority := task.priority; pushed_at := task.pushed_at;
                due_at := task.due_at; key := task.key; parent := task.parent; expires_at := task.expires_at;
                most := most - 1;
                IF pop.n > 1 THEN
                    most_bytes := most_bytes - octet_length(task.args::text);
                END IF;
                RETURN NEXT;
            END LOOP;
            EXIT WHEN most = 0 OR most_bytes <= 0;
            n_left_out := cardinality(left_out);
            left_out := {{schema}}.unreadable_tasks();
            -- Once more, for those behind what cannot be read.
            CONTINUE WHEN cut IS NULL AND cardinality(left_out) > n_left_out;
            EXIT WHEN cut IS NULL;
            -- What others hold at the same time was passed over: look further, in larger steps.
            heads[here:last] := array_fill(cut + 1, ARRAY[last - here + 1]);
            look := least(greatest(look, 32) * 2, 10000);
        END LOOP;
        here := last + 1;
    END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.pop(text, integer, text[], interval, text[], text)
    IS 'Takes up to n due tasks of a queue or of several, 32 MiB of arguments at most, the most urgent and then the oldest first. The worker ends each with complete, fail or release (id, token) before the lease runs out, or extends it.';

-- The log of an ended attempt as it is stored: over 1 MiB its first half and its last half.
CREATE FUNCTION {{schema}}.take_log(task bigint, claim bigint, log_seq bigint, OUT logs json, OUT dropped bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH gone AS (
        DELETE FROM {{schema}}.log_lines AS l WHERE l.task_id = take_log.task AND l.claim_id = take_log.claim RETURNING l.*
    ), line AS (
        SELECT g.seq, CASE WHEN g.fields IS NULL THEN json_build_object('at_ms', g.at_ms, 'level', g.level, 'message', g.message)
                           ELSE json_build_object('at_ms', g.at_ms, 'level', g.level, 'message', g.message, 'fields', g.fields) END AS line
        FROM gone AS g
    ), sized AS (
        SELECT l.*, sum(octet_length(l.line::text)) OVER (ORDER BY l.seq) AS up, sum(octet_length(l.line::text)) OVER (ORDER BY l.seq DESC) AS down
        FROM line AS l
    ), kept AS (
        SELECT s.* FROM sized AS s WHERE s.up <= 524288 OR s.down <= 524288
    ), numbered AS (
        SELECT k.seq, k.line, k.seq - lag(k.seq, 1, -1::bigint) OVER (ORDER BY k.seq) - 1 AS missing FROM kept AS k
    ), element AS (
        SELECT n.seq, 1 AS part, n.line FROM numbered AS n
        UNION ALL
        SELECT n.seq, 0, json_build_object('dropped', n.missing) FROM numbered AS n WHERE n.missing > 0
    )
    SELECT json_agg(e.line ORDER BY e.seq, e.part), take_log.log_seq - count(*) FILTER (WHERE e.part = 1)
    INTO logs, dropped FROM element AS e;
END $$;
COMMENT ON FUNCTION {{schema}}.take_log(bigint, bigint, bigint) IS 'Removes the log lines of an attempt and returns them as they are stored with it. For the endings of workers.';

CREATE FUNCTION {{schema}}.complete_many(ids bigint[], tokens uuid[], results anycompatiblearray DEFAULT NULL::json[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    large record;
    texts text[] := results::text[];
BEGIN
    -- What a pop that found nothing gives to array_agg.
    IF ids IS NULL AND tokens IS NULL THEN
        RETURN;
    ELSIF (cardinality(ids) = cardinality(tokens) AND coalesce(cardinality(texts), cardinality(ids)) = cardinality(ids)) IS NOT TRUE THEN
        RAISE EXCEPTION 'the arrays do not describe the same tasks'
            USING ERRCODE = '22023', HINT = 'give arrays of one length: ids, tokens and, if there are any, results';
    END IF;
    SELECT octet_length(t.result) AS bytes INTO large FROM unnest(texts) AS t (result) WHERE octet_length(t.result) > 1048576 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the result has % bytes, at most 1048576 are allowed', large.bytes
            USING ERRCODE = '22023', HINT = 'store the data elsewhere and return a reference to it';
    END IF;
    -- In the order of ids, as extend_many: two sessions of one worker do not wait for each other.
    PERFORM FROM {{schema}}.popped AS p WHERE p.task_id = ANY (ids) AND p.token = ANY (tokens) ORDER BY p.task_id FOR UPDATE;
    RETURN QUERY
        WITH gone AS (
            DELETE FROM {{schema}}.popped AS p
            USING (SELECT unnest(ids) AS id, unnest(tokens) AS token, unnest(texts) AS result) AS e
            WHERE p.task_id = e.id AND p.token = e.token
            RETURNING p.*, e.result
        ), answered AS (
            DELETE FROM {{schema}}.cancellations AS x USING gone AS g WHERE x.claim_id = g.claim_id AND x.task_id = g.task_id
        )
        INSERT INTO {{schema}}.history AS h
            ({{carried}}, id, state, attempts, crashes, result, logs, logs_dropped, due_at, started_at, finished_at, claim_id)
        SELECT {{carried g}}, g.task_id, 'complete', g.attempts + 1, g.crashes, coalesce(g.result, 'null')::json, l.logs, coalesce(l.dropped, 0),
               g.due_at, g.popped_at, clock_timestamp(), g.claim_id
        FROM gone AS g LEFT JOIN LATERAL {{schema}}.take_log(g.task_id, g.claim_id, g.log_seq) AS l ON g.log_seq > 0
        RETURNING h.id;
END $$;
COMMENT ON FUNCTION {{schema}}.complete_many(bigint[], uuid[], anycompatiblearray)
    IS 'Ends popped tasks with their results (text, json or jsonb). Returns the ids that it ended; those of the others are no longer held with these tokens.';

CREATE FUNCTION {{schema}}.complete(id bigint, token uuid, result anycompatible DEFAULT NULL::json) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM {{schema}}.complete_many(ARRAY[id], ARRAY[token], ARRAY[result::text]));
END $$;
COMMENT ON FUNCTION {{schema}}.complete(bigint, uuid, anycompatible)
    IS 'Ends a popped task with a result (text, json or jsonb). False: the task is no longer held with this token (the lease ran out, or it was ended already), and nothing changed.';

-- The default policy: from a second to an hour, half of it random.
CREATE FUNCTION {{schema}}.retry_delay(attempts integer) RETURNS interval
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(power(2, least(attempts, 20)), 3600) * (0.5 + random() / 2) * interval '1 second'
$$;
COMMENT ON FUNCTION {{schema}}.retry_delay(integer) IS 'How long a worker''s failed task waits before its next attempt. For fail.';

CREATE FUNCTION {{schema}}.check_delay(name text, delay interval) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF delay < interval '0' THEN
        RAISE EXCEPTION '% % is negative', name, delay USING ERRCODE = '22023', HINT = 'leave it out for the default';
    ELSIF now() + least(coalesce(delay, '0'), interval '1000 years') > now() + interval '100 years' THEN
        RAISE EXCEPTION 'the task would not be retried for a century'
            USING ERRCODE = '22023', HINT = format('give a %s within 100 years', name);
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.check_delay(text, interval) IS 'Rejects a delay that is negative or too long. For fail and release.';

CREATE FUNCTION {{schema}}.fail_many(ids bigint[], tokens uuid[], messages text[], retry_in interval DEFAULT NULL, fatal boolean DEFAULT false,
    codes text[] DEFAULT NULL, details anycompatiblearray DEFAULT NULL::json[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    n integer := cardinality(ids);
    texts text[] := details::text[];
    moved bigint[];
    woken text[];
BEGIN
    IF ids IS NULL AND tokens IS NULL THEN
        RETURN;
    ELSIF (cardinality(tokens) = n AND cardinality(messages) = n AND coalesce(cardinality(codes), n) = n
        AND coalesce(cardinality(texts), n) = n) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'the arrays do not describe the same tasks'
            USING ERRCODE = '22023', HINT = 'give arrays of one length: ids, tokens, messages and, if there are any, codes and details';
    ELSIF EXISTS (SELECT FROM unnest(texts) AS t (detail) WHERE octet_length(t.detail) > 1048576) THEN
        RAISE EXCEPTION 'the details have more than 1048576 bytes' USING ERRCODE = '22023', HINT = 'store the data elsewhere and return a reference to it';
    ELSIF EXISTS (SELECT FROM unnest(codes) AS t (code) WHERE octet_length(t.code) > 128) THEN
        RAISE EXCEPTION 'the code has more than 128 bytes' USING ERRCODE = '22023', HINT = 'use a short code, and put the rest into the message or the details';
    END IF;
    PERFORM {{schema}}.check_delay('retry_in', fail_many.retry_in);
    PERFORM FROM {{schema}}.popped AS p WHERE p.task_id = ANY (ids) AND p.token = ANY (tokens) ORDER BY p.task_id FOR UPDATE;
    WITH gone AS MATERIALIZED (
        DELETE FROM {{schema}}.popped AS p
        USING (SELECT unnest(ids) AS id, unnest(tokens) AS token, unnest(messages) AS error, unnest(codes) AS code, unnest(texts) AS detail) AS e
        WHERE p.task_id = e.id AND p.token = e.token
        RETURNING p.*, left(e.error, 65536) AS error, e.code, e.detail
    ), answered AS (
        DELETE FROM {{schema}}.cancellations AS x USING gone AS g WHERE x.claim_id = g.claim_id AND x.task_id = g.task_id
        RETURNING x.task_id
    ), judged AS MATERIALIZED (
        SELECT g.*, a.task_id IS NOT NULL AS asked,
               a.task_id IS NULL AND NOT coalesce(fail_many.fatal, false) AND NOT coalesce(g.retries, 20) BETWEEN 0 AND g.attempts AS again,
               now() + coalesce(fail_many.retry_in, {{schema}}.retry_delay(g.attempts)) AS due, l.logs, coalesce(l.dropped, 0) AS dropped
        FROM gone AS g
        LEFT JOIN answered AS a ON a.task_id = g.task_id
        LEFT JOIN LATERAL {{schema}}.take_log(g.task_id, g.claim_id, g.log_seq) AS l ON g.log_seq > 0
    ), ended AS (
        INSERT INTO {{schema}}.history
            ({{carried}}, id, state, attempts, crashes, error_kind, error_code, error_message, error_details, logs, logs_dropped, due_at, started_at,
             finished_at, claim_id)
        SELECT {{carried j}}, j.task_id, CASE WHEN j.asked THEN 'cancelled' ELSE 'failed' END, j.attempts + 1, j.crashes,
               CASE WHEN NOT j.asked THEN 'error' END, j.code, j.error, j.detail::json, j.logs, j.dropped, j.due_at, j.popped_at, clock_timestamp(),
               j.claim_id
        FROM judged AS j WHERE NOT j.again
    ), logged AS (
        INSERT INTO {{schema}}.attempts
            (task_id, claim_id, number, kind, error_code, error_message, error_details, logs, logs_dropped, started_at, ended_at)
        SELECT j.task_id, j.claim_id, j.attempts + 1, 'error', j.code, j.error, j.detail::json, j.logs, j.dropped, j.popped_at, clock_timestamp()
        FROM judged AS j WHERE j.again
    ), at_once AS (
        INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
        SELECT {{carried j}}, nextval('{{schema}}.task_ids'), j.task_id, j.attempts + 1, j.crashes, j.due
        FROM judged AS j WHERE j.again AND j.due <= now()
        RETURNING queue
    ), later AS (
        INSERT INTO {{schema}}.scheduled_tasks ({{carried}}, id, attempts, crashes, run_at)
        SELECT {{carried j}}, j.task_id, j.attempts + 1, j.crashes, j.due
        FROM judged AS j WHERE j.again AND j.due > now()
    )
    SELECT array_agg(j.task_id), (SELECT array_agg(DISTINCT o.queue) FROM at_once AS o) INTO moved, woken FROM judged AS j;
    IF woken IS NOT NULL THEN
        PERFORM {{schema}}.wake(woken);
    END IF;
    RETURN QUERY SELECT unnest(moved);
END $$;
COMMENT ON FUNCTION {{schema}}.fail_many(bigint[], uuid[], text[], interval, boolean, text[], anycompatiblearray)
    IS 'As fail, for many tasks. Returns the ids whose attempt it ended; the others are no longer held with these tokens.';

CREATE FUNCTION {{schema}}.fail(id bigint, token uuid, message text, retry_in interval DEFAULT NULL, fatal boolean DEFAULT false,
    code text DEFAULT NULL, details anycompatible DEFAULT NULL::json) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM {{schema}}.fail_many(ARRAY[id], ARRAY[token], ARRAY[message], retry_in, fatal, ARRAY[code], ARRAY[details::text]));
END $$;
COMMENT ON FUNCTION {{schema}}.fail(bigint, uuid, text, interval, boolean, text, anycompatible)
    IS 'Ends an attempt of a popped task with an error: it is retried (after retry_in, or a growing delay) while retries are left, unless fatal. False: the task is no longer held with this token, and nothing changed.';

CREATE FUNCTION {{schema}}.release(id bigint, token uuid, delay interval DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    task {{schema}}.popped;
    due timestamptz := now() + release.delay;
    log record;
BEGIN
    PERFORM {{schema}}.check_delay('delay', release.delay);
    DELETE FROM {{schema}}.popped AS p WHERE p.task_id = release.id AND p.token = release.token RETURNING p.* INTO task;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF task.log_seq > 0 THEN
        log := {{schema}}.take_log(task.task_id, task.claim_id, task.log_seq);
    END IF;
    DELETE FROM {{schema}}.cancellations AS x WHERE x.claim_id = task.claim_id AND x.task_id = task.task_id;
    IF FOUND THEN
        INSERT INTO {{schema}}.history ({{carried}}, id, state, attempts, crashes, error_message, due_at, started_at, claim_id)
        VALUES ({{carried task}}, task.task_id, 'cancelled', task.attempts, task.crashes, 'cancelled while a worker held it', task.due_at,
                task.popped_at, task.claim_id);
    ELSE
        IF task.log_seq > 0 THEN
            INSERT INTO {{schema}}.attempts (task_id, claim_id, number, kind, logs, logs_dropped, started_at)
            VALUES (task.task_id, task.claim_id, task.attempts + 1, 'release', log.logs, log.dropped, task.popped_at);
        END IF;
        IF due > now() THEN
            INSERT INTO {{schema}}.scheduled_tasks ({{carried}}, id, attempts, crashes, run_at)
            VALUES ({{carried task}}, task.task_id, task.attempts, task.crashes, due);
        ELSE
            INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
            VALUES ({{carried task}}, nextval('{{schema}}.task_ids'), task.task_id, task.attempts, task.crashes, task.due_at);
            PERFORM {{schema}}.wake(ARRAY[task.queue]);
        END IF;
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION {{schema}}.release(bigint, uuid, interval)
    IS 'Gives a popped task back without using an attempt, to run at once or after the delay. False: the task is no longer held with this token, and nothing changed.';

CREATE FUNCTION {{schema}}.extend_many(ids bigint[], tokens uuid[], lease interval DEFAULT '5 minutes')
RETURNS TABLE (id bigint, held boolean, cancel_requested boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM {{schema}}.check_lease(extend_many.lease);
    IF cardinality(ids) IS DISTINCT FROM cardinality(tokens) THEN
        RAISE EXCEPTION 'the arrays do not describe the same tasks' USING ERRCODE = '22023', HINT = 'give a token for each id';
    END IF;
    -- A row that another transaction has locked, perhaps to end the task, is not waited for:
    -- neither renewed nor, by tend, taken back until that transaction ends.
    RETURN QUERY
        WITH e AS MATERIALIZED (
            SELECT unnest(ids) AS id, unnest(tokens) AS token
        ), free AS MATERIALIZED (
            SELECT p.task_id FROM {{schema}}.popped AS p
            WHERE p.task_id = ANY (ids) AND p.token = ANY (tokens) ORDER BY p.task_id FOR UPDATE SKIP LOCKED
        ), renewed AS (
            UPDATE {{schema}}.popped AS p SET expires_at = clock_timestamp() + extend_many.lease
            FROM e WHERE p.task_id = e.id AND p.token = e.token AND p.task_id = ANY (ARRAY(SELECT f.task_id FROM free AS f))
        )
        SELECT e.id, p.task_id IS NOT NULL,
               EXISTS (SELECT FROM {{schema}}.cancellations AS x WHERE x.claim_id = p.claim_id AND x.task_id = p.task_id)
        FROM e LEFT JOIN {{schema}}.popped AS p ON p.task_id = e.id AND p.token = e.token;
END $$;
COMMENT ON FUNCTION {{schema}}.extend_many(bigint[], uuid[], interval)
    IS 'Renews the leases of popped tasks, counted from now. For each: whether it is still held (if not, stop working on it), and whether somebody asked to cancel it. A task whose row another transaction has locked is held, and is not renewed.';

CREATE FUNCTION {{schema}}.extend(id bigint, token uuid, lease interval DEFAULT '5 minutes', OUT held boolean, OUT cancel_requested boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT e.held, e.cancel_requested INTO held, cancel_requested
    FROM {{schema}}.extend_many(ARRAY[extend.id], ARRAY[extend.token], extend.lease) AS e;
END $$;
COMMENT ON FUNCTION {{schema}}.extend(bigint, uuid, interval)
    IS 'Renews the lease of a popped task, counted from now. held is false when it is no longer held with this token: stop working on it. cancel_requested: end it soon, with fail or complete.';

CREATE FUNCTION {{schema}}.progress(id bigint, token uuid, fraction float8, message text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF progress.fraction IS NULL OR NOT progress.fraction BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'the fraction is %', coalesce(progress.fraction::text, 'null') USING ERRCODE = '22023', HINT = 'give a number from 0 to 1';
    END IF;
    UPDATE {{schema}}.popped AS p
    SET fraction = progress.fraction, message = left(progress.message, 1024), reported_at = clock_timestamp()
    WHERE p.task_id = progress.id AND p.token = progress.token;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION {{schema}}.progress(bigint, uuid, float8, text)
    IS 'Reports how far a popped task is, from 0 to 1, with a short text for people: the view progress shows it. False: the task is no longer held with this token.';

-- At most 1,000 lines an attempt: the first 500 and the newest 500.
CREATE FUNCTION {{schema}}.log(id bigint, token uuid, message text, level text DEFAULT 'info', fields anycompatible DEFAULT NULL::json) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    task {{schema}}.popped;
BEGIN
    IF log.message IS NULL THEN
        RAISE EXCEPTION 'the message is null' USING ERRCODE = '22004', HINT = 'give a text';
    ELSIF log.level IS NULL OR log.level NOT IN ('debug', 'info', 'warn', 'error') THEN
        RAISE EXCEPTION 'the level is %', coalesce(quote_literal(left(log.level, 60)), 'null') USING ERRCODE = '22023', HINT = 'it is one of debug, info, warn, error';
    ELSIF octet_length(log.fields::text) > 8192 THEN
        RAISE EXCEPTION 'the fields have % bytes, at most 8192 are allowed', octet_length(log.fields::text) USING ERRCODE = '22023', HINT = 'log fewer or shorter fields';
    END IF;
    UPDATE {{schema}}.popped AS p SET log_seq = p.log_seq + 1 WHERE p.task_id = log.id AND p.token = log.token RETURNING p.* INTO task;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO {{schema}}.log_lines (task_id, claim_id, seq, attempt, at, at_ms, level, message, fields)
    VALUES (task.task_id, task.claim_id, task.log_seq - 1, task.attempts + 1, clock_timestamp(),
            greatest(0, extract(epoch FROM clock_timestamp() - task.popped_at) * 1000)::bigint, log.level, left(log.message, 8192), log.fields::text::json);
    IF task.log_seq > 1000 THEN
        DELETE FROM {{schema}}.log_lines AS l
        WHERE l.task_id = task.task_id AND l.claim_id = task.claim_id AND l.seq = task.log_seq - 501;
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION {{schema}}.log(bigint, uuid, text, text, anycompatible)
    IS 'Adds a line to the log of a popped task: live_logs shows it now, and it is stored with the attempt. False: the task is no longer held with this token.';

-- An outage must not count against the tasks that workers held: they could not extend
-- their leases. After a gap tend gives them 15 seconds to do so. Leases that end until then
-- count no attempt if the server is another one than before. If it is not, the gap may be
-- the end of the only worker, which called tend: a task that kills its worker must count.
CREATE FUNCTION {{schema}}.expire_popped(since timestamptz, before timestamptz, most integer, lost_from timestamptz, lost_to timestamptz)
RETURNS TABLE (returned bigint, failed bigint, cancelled bigint, more boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    left_out bigint[] := {{schema}}.unreadable_tasks();
    reads_each boolean := false;
BEGIN
    LOOP BEGIN
        WITH held AS MATERIALIZED (
            -- As stored: arguments of a few MiB, or of one task, are taken back in a moment.
            SELECT p.task_id, CASE WHEN reads_each THEN {{schema}}.stored_bytes(p.task_id, p.args, p.traits, p.key) ELSE pg_column_size(p.args) END AS bytes
            FROM {{schema}}.popped AS p
            WHERE p.expires_at >= expire_popped.since AND p.expires_at < expire_popped.before AND p.task_id <> ALL (left_out)
            ORDER BY p.expires_at LIMIT most FOR UPDATE SKIP LOCKED
        ), small AS MATERIALIZED (
            SELECT h.*, coalesce(sum(h.bytes) OVER w <= 8388608, true) OR coalesce(sum(h.bytes) OVER w = h.bytes, false) AS fits
            FROM held AS h WINDOW w AS (ORDER BY h.task_id)
        ), gone AS MATERIALIZED (
            DELETE FROM {{schema}}.popped AS p USING small AS s WHERE p.task_id = s.task_id AND s.fits AND s.bytes IS NOT NULL RETURNING p.*
        ), answered AS (
            DELETE FROM {{schema}}.cancellations AS x USING gone AS g WHERE x.claim_id = g.claim_id AND x.task_id = g.task_id
            RETURNING x.task_id
        ), judged AS MATERIALIZED (
            SELECT g.*, CASE WHEN a.task_id IS NOT NULL THEN 'cancelled'
                             WHEN coalesce(g.retries, 20) BETWEEN 0 AND g.attempts AND NOT o.lost THEN 'failed'
                             ELSE 'runnable' END AS fate, o.lost, l.logs, coalesce(l.dropped, 0) AS dropped
            FROM gone AS g
            CROSS JOIN LATERAL (SELECT coalesce(g.expires_at >= expire_popped.lost_from AND g.expires_at < expire_popped.lost_to, false) AS lost) AS o
            LEFT JOIN answered AS a ON a.task_id = g.task_id
            LEFT JOIN LATERAL {{schema}}.take_log(g.task_id, g.claim_id, g.log_seq) AS l ON g.log_seq > 0
        ), ended AS (
            INSERT INTO {{schema}}.history
                ({{carried}}, id, state, attempts, crashes, error_kind, error_message, logs, logs_dropped, due_at, started_at, claim_id)
            SELECT {{carried j}}, j.task_id, j.fate, j.attempts + 1, j.crashes, CASE WHEN j.fate = 'failed' THEN 'timeout' END,
                   CASE WHEN j.fate = 'failed' THEN format('the worker %s did not end it before its lease ran out', j.worker)
                        ELSE 'cancelled while it ran' END,
                   j.logs, j.dropped, j.due_at, j.popped_at, j.claim_id
            FROM judged AS j WHERE j.fate <> 'runnable'
        ), logged AS (
            INSERT INTO {{schema}}.attempts (task_id, claim_id, number, kind, error_message, logs, logs_dropped, started_at)
            SELECT j.task_id, j.claim_id, j.attempts + 1, CASE WHEN j.lost THEN 'lost' ELSE 'expired' END,
                   format(CASE WHEN j.lost THEN 'the lease of the worker %s ran out while the server was restarted'
                               ELSE 'the lease of the worker %s ran out' END, j.worker), j.logs, j.dropped, j.popped_at
            FROM judged AS j WHERE j.fate = 'runnable'
        ), again AS (
            INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
            SELECT {{carried j}}, nextval('{{schema}}.task_ids'), j.task_id, j.attempts + CASE WHEN j.lost THEN 0 ELSE 1 END, j.crashes, j.due_at
            FROM judged AS j WHERE j.fate = 'runnable'
        )
        SELECT count(*) FILTER (WHERE j.fate = 'runnable'), count(*) FILTER (WHERE j.fate = 'failed'),
               count(*) FILTER (WHERE j.fate = 'cancelled'),
               (SELECT count(*) = most OR NOT coalesce(bool_and(s.fits), true) FROM small AS s)
        INTO returned, failed, cancelled, more
        FROM judged AS j;
        RETURN NEXT;
        RETURN;
    EXCEPTION WHEN data_corrupted OR index_corrupted OR character_not_in_repertoire OR untranslatable_character THEN
        IF reads_each THEN
            RAISE;
        END IF;
        reads_each := true;
    END; END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.expire_popped(timestamptz, timestamptz, integer, timestamptz, timestamptz)
    IS 'Takes back popped tasks whose lease ended between these times, some at a time; counts an attempt, unless the lease ended between the other two. For tend.';

-- Lanes of queues on which workers are. `bound` is a position that is at least a second old.
CREATE FUNCTION {{schema}}.move_lane_starts(bound bigint, recheck bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '50 milliseconds';
    queues text[] := ARRAY(SELECT DISTINCT q FROM {{schema}}.worker_sessions AS s, unnest(s.queues) AS q
                           WHERE s.seen_at > now() - interval '10 minutes' LIMIT 1000);
    lane record;
    missed record;
    step bigint := 10000;
    newest bigint;
BEGIN
    IF cardinality(queues) = 0 THEN
        RETURN 0;
    END IF;
    FOR lane IN
        SELECT w.queue, w.handler, w.priority, w.start, w.checked_at, least(coalesce(w.head, bound), bound) AS next
        FROM {{schema}}.worker_lanes(queues, NULL) AS w LIMIT 1000
    LOOP
        -- A new version for a gain of some hundred rows, or before pop stops to trust the old one.
        CONTINUE WHEN lane.next - lane.start < 500 AND lane.checked_at > now() - interval '20 seconds';
        DELETE FROM {{schema}}.lane_starts AS s WHERE (s.queue, s.handler, s.priority) = (lane.queue, lane.handler, lane.priority);
        INSERT INTO {{schema}}.lane_starts VALUES (lane.queue, lane.handler, lane.priority, greatest(lane.start, lane.next), clock_timestamp());
    END LOOP;
    -- Tasks below the start of their lane: their transaction took longer than the bound allows for.
    SELECT max(s.position) INTO newest FROM {{schema}}.lane_starts AS s WHERE s.queue = ANY (queues);
    LOOP
        FOR missed IN
            SELECT s.queue, s.handler, s.priority, r.position
            FROM {{schema}}.lane_starts AS s
            CROSS JOIN LATERAL (
                SELECT t.position FROM {{schema}}.runnable_tasks AS t
                WHERE t.queue = s.queue AND t.handler = s.handler AND t.priority = s.priority
                  AND t.position >= recheck AND t.position < least(recheck + step, s.position)
                ORDER BY t.position LIMIT 1) AS r
            WHERE s.queue = ANY (queues)
        LOOP
            DELETE FROM {{schema}}.lane_starts AS s
            WHERE (s.queue, s.handler, s.priority) = (missed.queue, missed.handler, missed.priority);
            INSERT INTO {{schema}}.lane_starts VALUES (missed.queue, missed.handler, missed.priority, missed.position, clock_timestamp());
        END LOOP;
        recheck := recheck + step;
        step := step * 2;
        IF newest IS NULL OR recheck >= newest THEN
            RETURN 0;
        ELSIF clock_timestamp() >= deadline THEN
            RETURN recheck;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.move_lane_starts(bigint, bigint)
    IS 'Moves the positions at which pop begins past what is gone, and looks again below them for 50 ms. Returns where to continue. For tend.';

CREATE FUNCTION {{schema}}.tend(most integer DEFAULT 1000)
RETURNS TABLE (promoted bigint, expired bigint, next_due interval, more boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last {{schema}}.upkeep;
    due record;
    taken record;
    looks_at_all boolean;
    is_restart boolean;
    ended_before timestamptz := now();
    crossed bigint[];
    n_expired bigint;
BEGIN
    IF tend.most IS NULL OR tend.most NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'most is %', coalesce(tend.most::text, 'null') USING ERRCODE = '22023', HINT = 'move 1 to 10000 tasks in one call';
    END IF;
    PERFORM {{schema}}.need_read_committed('tend');
    SELECT u.* INTO last FROM {{schema}}.upkeep AS u FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 0::bigint, 0::bigint, NULL::interval, false;
        RETURN;
    END IF;
    -- The row is locked until this transaction ends: no other tend works until then.
    IF current_setting('idle_in_transaction_session_timeout')::interval NOT BETWEEN interval '1 millisecond' AND interval '5 seconds' THEN
        PERFORM set_config('idle_in_transaction_session_timeout', '5s', true);
    END IF;
    -- Behind what was due the last time, but for what committed late. Now and then all.
    looks_at_all := NOT last.promotes_on AND last.promote_all_at NOT BETWEEN now() AND now() + interval '10 minutes';
    SELECT p.* INTO due FROM {{schema}}.promote(tend.most,
        CASE WHEN looks_at_all THEN '-infinity' WHEN last.promotes_on THEN last.promoted_due
             ELSE least(last.promoted_due, now()) - interval '5 seconds' END,
        CASE WHEN last.promotes_on THEN last.promoted_id ELSE 0 END) AS p;
    IF looks_at_all THEN
        last.promote_all_at := now() + least(interval '5 seconds' + 20 * (clock_timestamp() - now()), interval '5 minutes');
    END IF;
    promoted := due.count;
    next_due := due.next_due;
    last.promotes_on := due.more;
    last.promoted_due := CASE WHEN due.more THEN due.last_due ELSE now() END;
    last.promoted_id := CASE WHEN due.more THEN due.last_id ELSE 0 END;


    -- The first tend of all can tell nothing.
    is_restart := last.server_started_at <> pg_postmaster_start_time();
    IF is_restart
        OR last.bound_at BETWEEN '1970-01-01' AND now() - interval '5 seconds' AND last.gap_to NOT BETWEEN now() - interval '15 seconds' AND now()
    THEN
        last.gap_from := last.bound_at;
        last.gap_to := now();
        last.gap_is_restart := is_restart;
    END IF;
    IF last.gap_to BETWEEN now() - interval '15 seconds' AND now() THEN
        ended_before := last.gap_from;
    END IF;
    looks_at_all := last.expired_all_at < now() - interval '1 minute';
    SELECT e.*, e.returned + e.failed + e.cancelled AS n INTO taken
    FROM {{schema}}.expire_popped(CASE WHEN looks_at_all THEN '-infinity' ELSE last.expired_to END, ended_before, tend.most,
        CASE WHEN last.gap_is_restart THEN last.gap_from END, last.gap_to + interval '15 seconds') AS e;
    n_expired := taken.n;
    IF taken.returned > 0 THEN
        PERFORM {{schema}}.wake();
    END IF;
    -- A cancel that crossed with the end of an attempt: the task has left the claim it was asked for in.
    IF EXISTS (SELECT FROM {{schema}}.cancellations) THEN
        WITH gone AS (
            DELETE FROM {{schema}}.cancellations AS x
            WHERE NOT EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = x.claim_id)
              AND NOT EXISTS (SELECT FROM {{schema}}.popped AS p WHERE p.task_id = x.task_id AND p.claim_id = x.claim_id)
            RETURNING x.task_id)
        SELECT array_agg(g.task_id) INTO crossed FROM gone AS g;
        IF crossed IS NOT NULL THEN
            PERFORM {{schema}}.cancel_tasks(crossed);
        END IF;
    END IF;
    DELETE FROM {{schema}}.worker_sessions AS s
    WHERE (s.name, s.pid) IN (SELECT o.name, o.pid FROM {{schema}}.worker_sessions AS o
                              WHERE o.seen_at < now() - interval '10 minutes' FOR UPDATE SKIP LOCKED);

    last.recheck := {{schema}}.move_lane_starts(last.bound, last.recheck);
    IF last.bound_at NOT BETWEEN now() - interval '1 second' AND now() THEN
        last.bound_at := now();
        SELECT s.last_value INTO last.bound FROM {{schema}}.task_ids AS s;
    END IF;
    -- All of them are taken back, but for those that were locked.
    IF n_expired = 0 THEN
        last.expired_to := ended_before;
        IF looks_at_all THEN
            last.expired_all_at := now();
        END IF;
    END IF;
    UPDATE {{schema}}.upkeep AS u
    SET bound = last.bound, bound_at = last.bound_at, recheck = last.recheck, expired_to = last.expired_to, expired_all_at = last.expired_all_at,
        server_started_at = pg_postmaster_start_time(), gap_from = last.gap_from, gap_to = last.gap_to, gap_is_restart = last.gap_is_restart,
        promoted_due = last.promoted_due, promoted_id = last.promoted_id, promotes_on = last.promotes_on, promote_all_at = last.promote_all_at;
    RETURN QUERY SELECT promoted, n_expired, next_due, due.more OR taken.more;
END $$;
COMMENT ON FUNCTION {{schema}}.tend(integer)
    IS 'Keeps the queues of workers going: makes due tasks runnable and takes back expired leases, at most this many and 8 MiB of arguments of each. Call it again at once while more is true, else each second, in a transaction of its own, from one worker; runners do. Returns at once while another session runs it.';
