-- Caller: store/attempt, between two attempts on one connection: DISCARD ALL, except that the
-- driver's prepared statements stay. The role is reset first, since it runs the following
-- statements.
ROLLBACK;
RESET SESSION AUTHORIZATION;
RESET ROLE;
RESET ALL;
CLOSE ALL;
UNLISTEN *;
SELECT pg_catalog.pg_advisory_unlock_all();
DISCARD PLANS;
DISCARD TEMP;
DISCARD SEQUENCES
