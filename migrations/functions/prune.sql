-- Retention. Each call of prune does one thing that locks a table, so that it commits at
-- once. It waits for no transaction: a later call prunes a table that is in use.

-- Deletes old rows of a default partition, or moves the oldest of the others to a new
-- partition.
CREATE OR REPLACE FUNCTION {{schema}}.empty_default(parent text, oldest timestamptz, batch integer, OUT deleted bigint, OUT moved boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    ended text := CASE parent WHEN 'history' THEN 'finished_at' ELSE 'ended_at' END;
    child text := parent || '_default';
    first timestamptz;
    low timestamptz;
    high timestamptz;
    beyond timestamptz;
    shortest timestamptz;
    most integer := 100000;
BEGIN
    deleted := 0;
    moved := false;
    EXECUTE format('SELECT min(%I) FROM {{schema}}.%I', ended, child) INTO first;
    IF first IS NULL THEN
        RETURN;
    END IF;
    IF first < oldest THEN
        EXECUTE format('DELETE FROM {{schema}}.%I AS r WHERE r.ctid = ANY (ARRAY(
            SELECT d.ctid FROM {{schema}}.%1$I AS d
            WHERE d.%2$I < $1 AND NOT EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = d.claim_id) LIMIT $2))', child, ended)
            USING oldest, batch;
        GET DIAGNOSTICS deleted = ROW_COUNT;
        IF deleted > 0 THEN
            RETURN;
        END IF;
    END IF;
    low := greatest(date_trunc('day', first), (SELECT max(p.high) FROM {{schema}}.partitions() AS p
        WHERE p.parent = empty_default.parent AND p.high <= first));
    high := least(date_trunc('day', first) + interval '24 hours', (SELECT min(p.low) FROM {{schema}}.partitions() AS p
        WHERE p.parent = empty_default.parent AND p.low > first));
    EXECUTE format('SELECT d.%I FROM {{schema}}.%I AS d WHERE d.%1$I >= $1 AND d.%1$I < $2 ORDER BY 1 OFFSET $3 LIMIT 1', ended, child)
        INTO beyond USING low, high, most;
    IF beyond IS NOT NULL THEN
        -- At least a millisecond: all outcomes of one statement have the same time.
        shortest := date_trunc('milliseconds', first) + interval '1 millisecond';
        high := least(high, greatest(date_trunc('milliseconds', beyond), shortest));
        most := CASE WHEN high <= shortest THEN 2147483647 ELSE most END;
    END IF;
    moved := {{schema}}.add_partition(parent, low, high, most);
END $$;
COMMENT ON FUNCTION {{schema}}.empty_default(text, timestamptz, integer) IS 'Removes rows from a default partition. For prune.';

-- Rescue needs the rows that show which attempts of a live claim have ended. The claim
-- keeps the partitions of these rows, and no others.
CREATE OR REPLACE FUNCTION {{schema}}.holds_endings(child regclass, parent text, high timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (
        SELECT FROM {{schema}}.claims AS c CROSS JOIN LATERAL unnest(c.task_ids) AS t (id)
        CROSS JOIN LATERAL (SELECT FROM %s AS h WHERE h.%I = t.id AND h.claim_id = c.id LIMIT 1) AS e
        WHERE c.claimed_at < $1)', child, CASE parent WHEN 'history' THEN 'id' ELSE 'task_id' END)
        INTO found USING high + interval '1 hour';
    RETURN found;
END $$;
COMMENT ON FUNCTION {{schema}}.holds_endings(regclass, text, timestamptz) IS 'Whether a live claim has outcomes in this partition. For prune.';

-- Failed tasks that are kept longer stay in their partition: prune empties it and inserts
-- them again. Measured on a day of 833,000 tasks: 0.1 s with 830 failed ones, 0.5 s with
-- 50,000. Subpartitions by state would double the partitions that every lookup opens.
--
-- If there are more than 50,000 rows, or 64 MiB of them, prune makes no copy: it deletes
-- the other rows of 2,000 pages in each call. The comment of the partition contains the
-- page at which to continue. A delete locks rows and no table.
CREATE OR REPLACE FUNCTION {{schema}}.kept_rows_fit(child regclass, which text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fits boolean;
    -- As stored: no value is read.
    bytes text := (
        SELECT string_agg(format('coalesce(pg_column_size(h.%I), 0)', a.attname), ' + ') FROM pg_attribute AS a
        WHERE a.attrelid = child AND a.attnum > 0 AND NOT a.attisdropped AND a.attlen = -1);
BEGIN
    EXECUTE format('SELECT count(*) <= 50000 AND coalesce(sum(k.bytes), 0) <= 67108864
        FROM (SELECT %s AS bytes FROM %s AS h WHERE %s LIMIT 50001) AS k', bytes, child, which) INTO fits;
    RETURN fits;
END $$;
COMMENT ON FUNCTION {{schema}}.kept_rows_fit(regclass, text) IS 'Whether the rows to keep of a partition are few enough for a copy. For prune.';

CREATE OR REPLACE FUNCTION {{schema}}.delete_others(child regclass, which text, page bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('DELETE FROM %s AS h WHERE h.ctid >= %L AND h.ctid < %L AND NOT (%s)', child,
        format('(%s,0)', page), format('(%s,0)', page + 2000), which);
    RETURN CASE WHEN page + 2000 < pg_relation_size(child) / current_setting('block_size')::integer THEN page + 2000 END;
END $$;
COMMENT ON FUNCTION {{schema}}.delete_others(regclass, text, bigint)
    IS 'Deletes the rows of 2,000 pages of a partition, except those to keep. Returns the page at which to continue; null: the end. For prune.';

-- If a step fails for one partition (a damaged row among the failed tasks, a user's view
-- or foreign key), the error is stored in its comment, and later calls take it last. It
-- keeps its rows until the cause is removed; when failed tasks have expired too, prune
-- drops it without reading rows.
CREATE OR REPLACE FUNCTION {{schema}}.prune_partition(oldest timestamptz, oldest_failed timestamptz, OUT changed boolean, OUT dropped boolean, OUT skipped text[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    child record;
    is_free boolean := true;
    which text;
    page bigint;
BEGIN
    dropped := false;
    changed := false;
    skipped := '{}';
    FOR child IN
        SELECT p.*, split_part(m.mark, ' Failed: ', 1) AS mark
        FROM {{schema}}.partitions() AS p CROSS JOIN LATERAL (SELECT coalesce(obj_description(p.name, 'pg_class'), '') AS mark) AS m
        WHERE p.high <= oldest ORDER BY m.mark LIKE '% Failed: %', p.low, p.parent
    LOOP
        BEGIN
            IF child.mark = 'Pruned: empty.' THEN
                -- The tables that outcomes use are locked last, for the time of one DROP.
                CONTINUE WHEN NOT is_free;
                is_free := {{schema}}.try_lock(format('ONLY {{schema}}.%I, ONLY {{schema}}.%I, ONLY %s',
                    child.parent, child.parent || '_default', child.name), 'ACCESS EXCLUSIVE');
                CONTINUE WHEN NOT is_free;
                EXECUTE format('DROP TABLE %s', child.name);
                dropped := true;
            ELSIF child.high <= oldest_failed THEN
                CONTINUE WHEN {{schema}}.holds_endings(child.name, child.parent, child.high)
                    OR NOT {{schema}}.try_lock(format('ONLY %s', child.name), 'ACCESS EXCLUSIVE');
                EXECUTE format('TRUNCATE ONLY %s', child.name);
                EXECUTE format('COMMENT ON TABLE %s IS ''Pruned: empty.''', child.name);
            ELSE
                CONTINUE WHEN child.mark = 'Pruned: failed tasks only.' OR {{schema}}.holds_endings(child.name, child.parent, child.high)
                    OR NOT {{schema}}.try_lock(format('ONLY %s', child.name), 'SHARE ROW EXCLUSIVE');
                which := CASE child.parent WHEN 'history' THEN 'h.state = ''failed'''
                    ELSE format('EXISTS (SELECT FROM {{schema}}.history AS f WHERE f.id = h.task_id AND f.state = ''failed'' AND f.finished_at >= %L)', child.low) END;
                page := (regexp_match(child.mark, '^Pruned: to page (\d+)\.'))[1];
                IF page IS NOT NULL OR NOT {{schema}}.kept_rows_fit(child.name, which) THEN
                    page := {{schema}}.delete_others(child.name, which, coalesce(page, 0));
                    EXECUTE format('COMMENT ON TABLE %s IS %L', child.name,
                        CASE WHEN page IS NULL THEN 'Pruned: failed tasks only.' ELSE format('Pruned: to page %s.', page) END);
                    changed := true;
                    RETURN;
                END IF;
                EXECUTE format('CREATE UNLOGGED TABLE {{schema}}.kept_rows AS SELECT h.* FROM %s AS h WHERE %s', child.name, which);
                IF {{schema}}.try_lock(format('ONLY %s', child.name), 'ACCESS EXCLUSIVE') THEN
                    EXECUTE format('TRUNCATE ONLY %s', child.name);
                    EXECUTE format('INSERT INTO %s SELECT * FROM {{schema}}.kept_rows', child.name);
                    EXECUTE format('COMMENT ON TABLE %s IS ''Pruned: failed tasks only.''', child.name);
                    changed := true;
                END IF;
                DROP TABLE {{schema}}.kept_rows;
                CONTINUE WHEN NOT changed;
            END IF;
            changed := true;
            RETURN;
        EXCEPTION WHEN OTHERS THEN
            changed := false;
            dropped := false;
            skipped := skipped || format('%s: %s', child.name, SQLERRM);
            RAISE WARNING 'partition % is not pruned: %', child.name, SQLERRM USING ERRCODE = SQLSTATE;
            IF {{schema}}.try_lock(format('ONLY %s', child.name), 'SHARE UPDATE EXCLUSIVE') THEN
                EXECUTE format('COMMENT ON TABLE %s IS %L', child.name, child.mark || ' Failed: ' || SQLERRM);
            END IF;
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.prune_partition(timestamptz, timestamptz) IS 'Empties or drops the oldest partition that is not in use, and names those that fail. For prune.';

-- The key of a task that still waits or runs gets the same lifetime again. Keys are
-- locked before the tasks are read: a retry, which changes the key too, is then visible,
-- or waits until the key is deleted and creates it again.
CREATE OR REPLACE FUNCTION {{schema}}.prune_keys(batch integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old bigint[];
    places tid[];
    n bigint;
BEGIN
    SELECT array_agg(l.task_id), array_agg(l.ctid) INTO old, places FROM (
        SELECT k.task_id, k.ctid FROM {{schema}}.keys AS k WHERE k.expires_at < now()
        ORDER BY k.expires_at LIMIT batch FOR UPDATE SKIP LOCKED) AS l;
    IF old IS NULL THEN
        RETURN 0;
    END IF;
    WITH live AS MATERIALIZED (
        SELECT s.id FROM {{schema}}.scheduled_tasks AS s WHERE s.id = ANY (old)
        UNION ALL
        SELECT r.id FROM {{schema}}.runnable_tasks AS r WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(old)))
        UNION ALL
        SELECT p.task_id FROM {{schema}}.popped AS p WHERE p.task_id = ANY (old)
        UNION ALL
        SELECT t.id FROM {{schema}}.claims AS c CROSS JOIN LATERAL unnest(c.task_ids) AS t (id) WHERE t.id = ANY (old)
    ), due AS MATERIALIZED (
        SELECT k.ctid, k.task_id IN (SELECT l.id FROM live AS l) AS is_live FROM {{schema}}.keys AS k WHERE k.ctid = ANY (places)
    ), longer AS (
        UPDATE {{schema}}.keys AS k SET expires_at = now() + coalesce(k.ttl, {{schema}}.retention())
        WHERE k.ctid = ANY (ARRAY(SELECT d.ctid FROM due AS d WHERE d.is_live))
    ), gone AS (
        DELETE FROM {{schema}}.keys AS k WHERE k.ctid = ANY (ARRAY(SELECT d.ctid FROM due AS d WHERE NOT d.is_live)) RETURNING 1
    )
    SELECT count(*) INTO n FROM gone;
    RETURN n;
END $$;
COMMENT ON FUNCTION {{schema}}.prune_keys(integer) IS 'Deletes keys that have expired and whose tasks neither wait nor run. For prune.';

CREATE OR REPLACE FUNCTION {{schema}}.check_ages(retention interval, failed interval, batch integer) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF retention IS NULL OR retention < interval '0' THEN
        RAISE EXCEPTION 'invalid retention: %', coalesce(retention::text, 'null')
            USING ERRCODE = '22023', HINT = 'give the age at which history is deleted, for example ''7 days''';
    ELSIF failed < interval '0' THEN
        RAISE EXCEPTION 'invalid retention of failed tasks: %', failed
            USING ERRCODE = '22023', HINT = 'give the age at which failed tasks are deleted, for example ''30 days'', or leave it out';
    ELSIF batch IS NULL OR batch < 1 THEN
        RAISE EXCEPTION 'invalid batch size: %', coalesce(batch::text, 'null')
            USING ERRCODE = '22023', HINT = 'give the number of rows that one call may delete, for example 10000';
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.check_ages(interval, interval, integer) IS 'Rejects negative ages, with a hint. For prune and prune_state.';

CREATE OR REPLACE FUNCTION {{schema}}.prune(retention interval, batch integer DEFAULT 10000, failed interval DEFAULT NULL)
RETURNS TABLE (created bigint, dropped bigint, deleted bigint, more boolean, skipped text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    keep interval := greatest(retention, interval '1 hour');
    keep_failed interval := greatest(keep, failed);
    parent text;
    was_dropped boolean;
    failing text[];
BEGIN
    skipped := '{}';
    created := 0;
    dropped := 0;
    deleted := 0;
    more := false;
    PERFORM {{schema}}.need_read_committed('prune');
    PERFORM {{schema}}.check_ages(prune.retention, prune.failed, prune.batch);
    -- One call at a time; the others return.
    PERFORM FROM {{schema}}.settings AS s WHERE s.name = 'retention' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NEXT;
        RETURN;
    END IF;
    -- New keys last as long as history, and the width of partitions follows the longer of the
    -- two ages.
    UPDATE {{schema}}.settings AS s SET value = n.value::text
    FROM (VALUES ('retention', keep), ('retention_failed', keep_failed)) AS n (name, value)
    WHERE s.name = n.name AND s.value <> n.value::text;
    created := {{schema}}.make_partitions();
    IF created > 0 THEN
        more := true;
        RETURN NEXT;
        RETURN;
    END IF;
    deleted := {{schema}}.prune_keys(batch);
    IF deleted > 0 THEN
        more := true;
        RETURN NEXT;
        RETURN;
    END IF;
    FOREACH parent IN ARRAY ARRAY['history', 'attempts'] LOOP
        BEGIN
            SELECT e.deleted, e.moved INTO deleted, more FROM {{schema}}.empty_default(parent, now() - keep_failed, batch) AS e;
            more := more OR deleted > 0;
        EXCEPTION WHEN OTHERS THEN
            skipped := skipped || format('{{schema}}.%s_default: %s', parent, SQLERRM);
            RAISE WARNING '{{schema}}.%_default is not emptied: %', parent, SQLERRM USING ERRCODE = SQLSTATE;
        END;
        IF more THEN
            RETURN NEXT;
            RETURN;
        END IF;
    END LOOP;
    SELECT p.changed, p.dropped, p.skipped INTO more, was_dropped, failing
    FROM {{schema}}.prune_partition(now() - keep, now() - keep_failed) AS p;
    dropped := was_dropped::integer;
    skipped := skipped || failing;
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION {{schema}}.prune(interval, integer, interval)
    IS 'Drops history older than the retention (at least one hour), keeps failed tasks until the age failed, deletes expired keys, and creates the next partitions. Each call does one step: call it again, in a separate transaction, while more is true. skipped names the partitions that failed; there is a WARNING, too.';

-- Each call handles a batch of tasks, from where the last one stopped, so that many saved
-- values of kept tasks cost no more than a few.
CREATE OR REPLACE FUNCTION {{schema}}.prune_state(retention interval, batch integer DEFAULT 10000) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    start bigint;
    ids bigint[];
    n bigint := 0;
BEGIN
    PERFORM {{schema}}.check_ages(prune_state.retention, NULL, prune_state.batch);
    SELECT s.value::bigint INTO start FROM {{schema}}.settings AS s WHERE s.name = 'prune_state_after' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    ids := ARRAY(SELECT DISTINCT t.task_id FROM {{schema}}.task_state AS t WHERE t.task_id > start ORDER BY t.task_id LIMIT batch);
    IF cardinality(ids) > 0 THEN
        -- A value of an attempt before the one that completed the task, or of a task that was
        -- deleted or whose history was dropped. One statement, one snapshot: a task that moves
        -- meanwhile is in one of the tables. A value is older than the outcome of its task, and
        -- with a literal Postgres does not open older partitions.
        EXECUTE format('
            WITH ended AS MATERIALIZED (
                SELECT i.id, h.state FROM unnest($1) AS i (id)
                CROSS JOIN LATERAL (SELECT h.state FROM {{schema}}.history AS h WHERE h.id = i.id AND h.finished_at >= %L LIMIT 1) AS h
            ), live AS MATERIALIZED (
                SELECT s.id FROM {{schema}}.scheduled_tasks AS s WHERE s.id = ANY ($1)
                UNION ALL
                SELECT r.id FROM {{schema}}.runnable_tasks AS r WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable($1)))
                UNION ALL
                SELECT p.task_id FROM {{schema}}.popped AS p WHERE p.task_id = ANY ($1)
                UNION ALL
                SELECT t.id FROM {{schema}}.claims AS c CROSS JOIN LATERAL unnest(c.task_ids) AS t (id)
            )
            DELETE FROM {{schema}}.task_state AS s
            WHERE s.task_id = ANY ($1)
              AND (s.task_id IN (SELECT e.id FROM ended AS e WHERE e.state = ''complete'')
                   OR s.saved_at < $2 AND s.task_id NOT IN (SELECT e.id FROM ended AS e) AND s.task_id NOT IN (SELECT l.id FROM live AS l))',
            (SELECT min(t.saved_at) FROM {{schema}}.task_state AS t WHERE t.task_id = ANY (ids)) - interval '1 hour')
            USING ids, now() - greatest(retention, interval '1 hour');
        GET DIAGNOSTICS n = ROW_COUNT;
    END IF;
    start := CASE WHEN cardinality(ids) = batch THEN ids[batch] ELSE 0 END;
    UPDATE {{schema}}.settings AS s SET value = start::text WHERE s.name = 'prune_state_after' AND s.value <> start::text;
    RETURN n;
END $$;
COMMENT ON FUNCTION {{schema}}.prune_state(interval, integer)
    IS 'Deletes saved values of tasks that are complete or deleted, or whose history has been deleted; a batch of tasks in each call. Runners call it after prune.';
