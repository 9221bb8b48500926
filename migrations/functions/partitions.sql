-- The partitions of history and attempts. These functions wait for no transaction: a
-- table that is in use gets its partition in a later call.

-- A lock on a partitioned table conflicts with every outcome, and a queued request blocks
-- all of them. Measured with writers that commit without a pause, each holding the table
-- most of the time: NOWAIT gets the lock within 50 ms beside two of them, and not within
-- 7 s beside four. A queued request gets it at the first try, after 12 to 22 ms. So the
-- function tries without waiting, and then waits in the queue once for 20 ms.
CREATE OR REPLACE FUNCTION {{schema}}.try_lock(tables text, mode text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '20ms' AS $$
BEGIN
    FOR i IN 1 .. 11 LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN %s MODE %s', tables, mode, CASE WHEN i < 11 THEN 'NOWAIT' END);
            RETURN true;
        EXCEPTION WHEN lock_not_available THEN
            CONTINUE WHEN i = 11;
            PERFORM pg_sleep(0.003 + random() * 0.004);
        WHEN undefined_table THEN
            RETURN false;
        END;
    END LOOP;
    RETURN false;
END $$;
COMMENT ON FUNCTION {{schema}}.try_lock(text, text) IS 'Locks tables if they are free, or become free within 20 ms. For prune.';

CREATE OR REPLACE FUNCTION {{schema}}.partitions() RETURNS TABLE (name regclass, parent text, low timestamptz, high timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
    SELECT c.oid::regclass, p.relname::text, b.bounds[1]::timestamptz, b.bounds[2]::timestamptz
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    JOIN pg_class AS p ON p.oid = i.inhparent
    CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') AS b (bounds)
    WHERE i.inhparent IN ('{{schema}}.history'::regclass, '{{schema}}.attempts'::regclass) AND b.bounds IS NOT NULL
    ORDER BY 3, 2
$$;
COMMENT ON FUNCTION {{schema}}.partitions() IS 'The partitions of history and attempts with their bounds; not the default ones.';

-- About thirty partitions, whatever the retention: every lookup of a task by its id opens
-- and locks all of them.
CREATE OR REPLACE FUNCTION {{schema}}.partition_days(retention interval) RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN retention <= interval '32 days' THEN 1
                WHEN retention <= interval '224 days' THEN 7
                WHEN retention <= interval '960 days' THEN 30
                ELSE 360 END
$$;
COMMENT ON FUNCTION {{schema}}.partition_days(interval) IS 'How many days a partition covers at this retention.';

-- ATTACH does not block outcomes, CREATE TABLE ... PARTITION OF does. At most 100,000
-- rows of the range are moved from the default partition, which takes a second. In one
-- transaction: an outcome whose row is not visible did not happen.
CREATE OR REPLACE FUNCTION {{schema}}.add_partition(parent text, low timestamptz, high timestamptz, most integer DEFAULT 100000) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
    ended text := CASE parent WHEN 'history' THEN 'finished_at' ELSE 'ended_at' END;
    child text := parent || to_char(low, CASE WHEN low = date_trunc('day', low) THEN '_YYYY_MM_DD'
        WHEN low = date_trunc('second', low) THEN '_YYYY_MM_DD_HH24MISS' ELSE '_YYYY_MM_DD_HH24MISS_US' END);
    n bigint;
BEGIN
    IF NOT {{schema}}.try_lock(format('ONLY {{schema}}.%I', parent), 'SHARE UPDATE EXCLUSIVE')
        OR NOT {{schema}}.try_lock(format('ONLY {{schema}}.%I', parent || '_default'), 'ACCESS EXCLUSIVE')
    THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT count(*) FROM (SELECT FROM {{schema}}.%I WHERE %I >= $1 AND %2$I < $2 LIMIT $3 + 1) AS r',
        parent || '_default', ended) INTO n USING low, high, most::bigint;
    IF n > most THEN
        RETURN false;
    END IF;
    WHILE to_regclass(format('{{schema}}.%I', child)) IS NOT NULL LOOP
        child := child || '_';
    END LOOP;
    EXECUTE format('CREATE TABLE {{schema}}.%I (LIKE {{schema}}.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)',
        child, parent);
    IF n > 0 THEN
        EXECUTE format('WITH gone AS (DELETE FROM {{schema}}.%I WHERE %I >= $1 AND %2$I < $2 RETURNING *)
            INSERT INTO {{schema}}.%I SELECT * FROM gone', parent || '_default', ended, child) USING low, high;
    END IF;
    EXECUTE format('ALTER TABLE {{schema}}.%I ATTACH PARTITION {{schema}}.%I FOR VALUES FROM (%L) TO (%L)', parent, child, low, high);
    RETURN true;
END $$;
COMMENT ON FUNCTION {{schema}}.add_partition(text, timestamptz, timestamptz, integer) IS 'Creates one partition. False: the table is in use, or the default partition has too many rows of the range. For prune.';

CREATE OR REPLACE FUNCTION {{schema}}.make_partitions(ahead integer DEFAULT 3) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    day interval := interval '24 hours';
    width float8 := {{schema}}.partition_days((SELECT max(s.value::interval) FROM {{schema}}.settings AS s WHERE s.name IN ('retention', 'retention_failed'))) * 86400;
    made bigint := 0;
    whole text;
    first timestamptz;
    next timestamptz;
BEGIN
    FOREACH whole IN ARRAY ARRAY['history', 'attempts'] LOOP
        first := date_trunc('day', now());
        WHILE first < date_trunc('day', now()) + (ahead + 1) * day LOOP
            next := (SELECT max(p.high) FROM {{schema}}.partitions() AS p
                     WHERE p.parent = whole AND p.low <= first AND p.high > first);
            IF next IS NULL THEN
                next := least(to_timestamp((floor(extract(epoch FROM first)::float8 / width) + 1) * width),
                              (SELECT min(p.low) FROM {{schema}}.partitions() AS p
                               WHERE p.parent = whole AND p.low > first));
                BEGIN
                    made := made + {{schema}}.add_partition(whole, first, next)::integer;
                EXCEPTION WHEN OTHERS THEN
                    RAISE WARNING 'no partition of % from % on: %', whole, first, SQLERRM USING ERRCODE = SQLSTATE;
                END;
            END IF;
            first := next;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION {{schema}}.make_partitions(integer) IS 'Creates the partitions of today and the next days, if their tables are not in use. Returns how many.';

-- Creates those of the first days. If they exist, this locks nothing.
SELECT {{schema}}.make_partitions();
