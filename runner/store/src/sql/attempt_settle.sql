-- Caller: store/attempt, with attempt_quiet behind it, before the statement that
-- ends a handler's transaction.
-- Deferred triggers run now, under the settings they were written for. After
-- that nothing that the handler has set counts: not for our statement, not for
-- how durable the commit is. A lock that our statement needs and somebody else's
-- transaction holds is waited for only briefly: this one holds its claim meanwhile.
SET CONSTRAINTS ALL IMMEDIATE;
SET LOCAL ROLE NONE;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL standard_conforming_strings = on;
SET LOCAL lock_timeout = '2s';
SET LOCAL synchronous_commit TO DEFAULT;
SET LOCAL statement_timeout = '20s';
SET LOCAL idle_in_transaction_session_timeout = '10s';
