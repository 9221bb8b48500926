-- Caller: store/attempt, now and then before a statement of a handler, in its transaction: every
-- name is qualified. Counts the types that the role may have created, that contain another
-- created type and may be contained in a third. Tables are such types, and those of every role
-- that it could become count as its own; arrays are not counted, since each needs another type
-- between itself and the next. Index: none on pg_type.
SELECT pg_catalog.count(*) AS n_nested
FROM (
    SELECT FROM pg_catalog.pg_type AS t
    WHERE t.typowner OPERATOR(pg_catalog.=) ANY (ARRAY(
              SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')))
      AND t.typtype OPERATOR(pg_catalog.=) ANY (ARRAY['c', 'd', 'r']::pg_catalog."char"[])
      AND EXISTS (
          SELECT FROM (
              SELECT t.typbasetype AS oid
              UNION ALL
              SELECT g.rngsubtype FROM pg_catalog.pg_range AS g WHERE g.rngtypid OPERATOR(pg_catalog.=) t.oid
              UNION ALL
              SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid AND NOT a.attisdropped
          ) AS part
          JOIN pg_catalog.pg_type AS p ON p.oid OPERATOR(pg_catalog.=) part.oid
          LEFT JOIN pg_catalog.pg_type AS e ON e.oid OPERATOR(pg_catalog.=) p.typelem
          -- Smaller OIDs are the types that every database has.
          WHERE part.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
            AND (p.typtype OPERATOR(pg_catalog.=) ANY (ARRAY['c', 'd', 'r']::pg_catalog."char"[])
                 OR e.typtype OPERATOR(pg_catalog.=) ANY (ARRAY['c', 'd', 'r']::pg_catalog."char"[])))
    LIMIT 1000) AS nested
