-- Caller: store/attempt, before every hundredth statement of a handler, in its
-- transaction: every name is qualified. Index: none; one look at pg_class.
SELECT pg_catalog.count(*) AS n_relations
FROM (SELECT FROM pg_catalog.pg_class AS c
      WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'v', 'm', 'p', 'c', 'f']::pg_catalog."char"[])
        AND c.relowner OPERATOR(pg_catalog.=) (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) session_user)
      LIMIT 1001) AS mine
