-- Caller: store/attempt. Several statements in one message. The numbers come from pgtq, not from
-- the handler.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL statement_timeout = {{statement_ms}};
SET LOCAL idle_in_transaction_session_timeout = {{idle_ms}};
SET LOCAL application_name = 'pgtq runner {{runner}} in {{schema_name}}';
SET LOCAL client_min_messages = error
