-- Retention: daily partitions of history and attempts, and what is deleted with them.

CREATE FUNCTION {{schema}}.make_partitions(ahead integer DEFAULT 3) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    parent text;
    child text;
    made bigint := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['history', 'attempts'] LOOP
        FOR i IN 0 .. ahead LOOP
            day := today + i;
            child := format('%s_%s', parent, to_char(day, 'YYYY_MM_DD'));
            CONTINUE WHEN to_regclass(format('{{schema}}.%I', child)) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE {{schema}}.%I PARTITION OF {{schema}}.%I FOR VALUES FROM (%L) TO (%L)',
                    child, parent, to_char(day, 'YYYY-MM-DD 00:00:00+00'), to_char(day + 1, 'YYYY-MM-DD 00:00:00+00'));
                made := made + 1;
            EXCEPTION WHEN check_violation OR duplicate_table OR invalid_object_definition THEN
                -- The default partition holds rows of that day already, or another runner was faster.
                NULL;
            END;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION {{schema}}.make_partitions(integer) IS 'Makes the partitions of today and the next days.';

CREATE FUNCTION {{schema}}.old_partitions(oldest date) RETURNS TABLE (name regclass, parent text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid::regclass, p.relname::text
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    JOIN pg_class AS p ON p.oid = i.inhparent
    WHERE i.inhparent IN ('{{schema}}.history'::regclass, '{{schema}}.attempts'::regclass)
      AND c.relname ~ '_\d{4}_\d{2}_\d{2}$'
      AND to_date(right(c.relname, 10), 'YYYY_MM_DD') < oldest
    ORDER BY c.relname
$$;
COMMENT ON FUNCTION {{schema}}.old_partitions(date) IS 'Partitions of days before this one. For prune.';

CREATE FUNCTION {{schema}}.prune(retention interval, batch integer DEFAULT 10000)
RETURNS TABLE (created bigint, dropped bigint, deleted bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- The endings of a live claim stay: they are what tells rescue that a task has ended.
    oldest date := (least(now() - greatest(retention, interval '1 hour'),
                          (SELECT min(claimed_at) FROM {{schema}}.claims)) AT TIME ZONE 'UTC')::date;
    child record;
    n_dropped bigint := 0;
    n_deleted bigint := 0;
    n bigint;
    timeout text := current_setting('lock_timeout');
BEGIN
    -- New keys live as long as history does.
    INSERT INTO {{schema}}.settings AS s (name, value) VALUES ('retention', greatest(retention, interval '1 hour')::text)
    ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value WHERE s.value <> EXCLUDED.value;
    -- Dropping waits for readers, and everybody waits behind it: not for long.
    PERFORM set_config('lock_timeout', '2s', true);
    FOR child IN SELECT o.* FROM {{schema}}.old_partitions(oldest) AS o WHERE o.parent = 'history' LOOP
        BEGIN
            EXECUTE format('DELETE FROM {{schema}}.keys AS k USING %s AS h
                WHERE h.key IS NOT NULL AND k.queue = h.queue AND k.key = h.key AND k.task_id = h.id', child.name);
            GET DIAGNOSTICS n = ROW_COUNT;
            n_deleted := n_deleted + n;
        EXCEPTION WHEN lock_not_available OR undefined_table THEN
            NULL;
        END;
    END LOOP;
    WITH gone AS (
        DELETE FROM {{schema}}.history_default AS h
        WHERE h.ctid = ANY (ARRAY(SELECT d.ctid FROM {{schema}}.history_default AS d WHERE d.finished_at < oldest LIMIT batch))
        RETURNING h.queue, h.key, h.id
    ), unkeyed AS (
        DELETE FROM {{schema}}.keys AS k USING gone AS g
        WHERE g.key IS NOT NULL AND k.queue = g.queue AND k.key = g.key AND k.task_id = g.id
    )
    SELECT n_deleted + count(*) INTO n_deleted FROM gone;
    WITH gone AS (
        DELETE FROM {{schema}}.attempts_default AS a
        WHERE a.ctid = ANY (ARRAY(SELECT d.ctid FROM {{schema}}.attempts_default AS d WHERE d.ended_at < oldest LIMIT batch))
        RETURNING 1
    )
    SELECT n_deleted + count(*) INTO n_deleted FROM gone;
    -- Last, because from the first drop on nobody can end a task until we commit.
    FOR child IN SELECT o.* FROM {{schema}}.old_partitions(oldest) AS o LOOP
        BEGIN
            EXECUTE format('DROP TABLE %s', child.name);
            n_dropped := n_dropped + 1;
        EXCEPTION WHEN lock_not_available OR undefined_table THEN
            NULL;  -- The next prune drops it, or another runner was faster.
        END;
    END LOOP;
    BEGIN
        n := {{schema}}.make_partitions();
    EXCEPTION WHEN lock_not_available THEN
        n := 0;
    END;
    PERFORM set_config('lock_timeout', timeout, true);
    RETURN QUERY SELECT n, n_dropped, n_deleted;
END $$;
COMMENT ON FUNCTION {{schema}}.prune(interval, integer) IS 'Drops days of history older than the retention (one hour at least) with their keys, and makes the next days'' partitions.';

CREATE FUNCTION {{schema}}.prune_state(retention interval, batch integer DEFAULT 10000) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old bigint[];
    n_deleted bigint;
    n bigint;
BEGIN
    -- Left by an attempt before the one that completed the task.
    DELETE FROM {{schema}}.task_state AS s
    WHERE s.ctid = ANY (ARRAY(
        SELECT t.ctid FROM {{schema}}.task_state AS t
        WHERE EXISTS (SELECT FROM {{schema}}.history AS h WHERE h.id = t.task_id AND h.state = 'complete') LIMIT batch));
    GET DIAGNOSTICS n_deleted = ROW_COUNT;
    -- Of tasks that are nowhere any more: deleted, or their history was dropped.
    -- One statement, one snapshot: a task that moves meanwhile is in one of them.
    old := ARRAY(
        SELECT DISTINCT t.task_id FROM {{schema}}.task_state AS t
        WHERE t.saved_at < now() - greatest(retention, interval '1 hour') LIMIT batch);
    IF cardinality(old) > 0 THEN
        DELETE FROM {{schema}}.task_state AS s
        WHERE s.task_id = ANY (old) AND s.saved_at < now() - greatest(retention, interval '1 hour')
          AND NOT EXISTS (SELECT FROM {{schema}}.scheduled_tasks AS t WHERE t.id = s.task_id)
          AND NOT EXISTS (SELECT FROM {{schema}}.runnable_tasks AS t WHERE t.id = s.task_id)
          AND NOT EXISTS (SELECT FROM {{schema}}.unended AS u WHERE u.id = s.task_id)
          AND NOT EXISTS (SELECT FROM {{schema}}.history AS h WHERE h.id = s.task_id);
        GET DIAGNOSTICS n = ROW_COUNT;
        n_deleted := n_deleted + n;
    END IF;
    RETURN n_deleted;
END $$;
COMMENT ON FUNCTION {{schema}}.prune_state(interval, integer)
    IS 'Removes saved values of tasks that are complete, deleted, or gone with their history. Runners call it after prune.';

SELECT {{schema}}.make_partitions();
