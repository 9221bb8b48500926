-- Caller: pooler::is_between. The server process that answers.
SELECT pg_backend_pid()
