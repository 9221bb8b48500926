-- The API for workers in any language, part one: pop.
--
-- Each popped task is one row with a random token. Every outcome deletes that row first:
-- two outcomes of one attempt conflict on it at every isolation level, and none of them
-- reads history or attempts.
--
-- Plans are made once per session, perhaps when the tables are empty: the functions'
-- settings make them use indexes, and prevent compilation at each call.

CREATE OR REPLACE FUNCTION {{schema}}.check_lease(lease interval) RETURNS void
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

-- The lanes (queue, handler, priority) that have tasks, and where each starts. Known
-- lanes are read from lane_starts; between two of them one index probe finds a new lane.
-- Only these probes read dead rows, and only of lanes that no tend has seen.
CREATE OR REPLACE FUNCTION {{schema}}.worker_lanes(queues text[], handlers text[])
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
            -- Two conditions, because an index scan bounded by (handler, priority) < (x, y) reads all
            -- of x.
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
              -- Without a tend, tasks of long transactions are not known.
              AND r.position >= CASE WHEN k.checked_at > statement_timestamp() - interval '1 minute' THEN k.position ELSE -9223372036854775808 END
            ORDER BY r.queue, r.handler, r.priority, r.position LIMIT 1) AS h ON true
        UNION ALL
        SELECT f.queue, f.handler, f.priority, f.position, NULL::bigint, NULL::timestamptz FROM fresh AS f;
END $$;
COMMENT ON FUNCTION {{schema}}.worker_lanes(text[], text[])
    IS 'The lanes of these queues (and handlers), and the position of the first task of each. For pop and tend.';

CREATE OR REPLACE FUNCTION {{schema}}.note_worker(worker text, queues text[]) RETURNS void
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
COMMENT ON FUNCTION {{schema}}.note_worker(text, text[]) IS 'Stores which queues this session works on. For pop.';

-- Only takes tasks: tend promotes, and takes back expired leases. A worker that keeps its
-- transaction open locks its popped tasks, and nothing else.
CREATE OR REPLACE FUNCTION {{schema}}.pop(INOUT queue text DEFAULT NULL, n integer DEFAULT 1, handlers text[] DEFAULT NULL,
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
    -- Smaller values are stored inline in the row.
    reads_from integer := CASE WHEN pg_client_encoding() IN (getdatabaseencoding(), 'SQL_ASCII') THEN 1000 ELSE 0 END;
BEGIN
    IF pop.n IS NULL OR pop.n NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'invalid n: %', coalesce(pop.n::text, 'null') USING ERRCODE = '22023', HINT = 'pop 1 to 10000 tasks';
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
                -- Up to which position there are enough tasks, without those that other sessions hold.
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
                    -- A compressed value is larger than its stored size, and is read only if the task may be
                    -- taken.
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
            -- Once more, for the tasks after the unreadable ones.
            CONTINUE WHEN cut IS NULL AND cardinality(left_out) > n_left_out;
            EXIT WHEN cut IS NULL;
            -- Tasks that other sessions hold were skipped: search further, in larger steps.
            heads[here:last] := array_fill(cut + 1, ARRAY[last - here + 1]);
            look := least(greatest(look, 32) * 2, 10000);
        END LOOP;
        here := last + 1;
    END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.pop(text, integer, text[], interval, text[], text)
    IS 'Takes up to n due tasks of one or several queues, at most 32 MiB of arguments, by priority and then the oldest first. The worker calls complete, fail or release (id, token) for each before the lease expires, or extends it.';
