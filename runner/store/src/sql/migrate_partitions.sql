-- Caller: store/migrate_outside. Rows: the partitions of a table of ours, by name.
SELECT c.relname::text AS name
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass(format('{{schema}}.%I', $1::text))
ORDER BY 1
