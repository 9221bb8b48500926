-- Caller: store/attempt, followed by attempt_quiet, before the statement that ends a handler's
-- transaction. Deferred triggers run now, under the settings they were written for. After that
-- no setting of the handler is in force, neither for our statement nor for the durability of the
-- commit. The lock timeout for our statement is short, because this transaction holds its claim
-- while it waits for another one.
SET CONSTRAINTS ALL IMMEDIATE;
SET LOCAL ROLE NONE;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL standard_conforming_strings = on;
SET LOCAL lock_timeout = '2s';
SET LOCAL synchronous_commit TO DEFAULT;
SET LOCAL statement_timeout = '20s';
SET LOCAL idle_in_transaction_session_timeout = '10s';
