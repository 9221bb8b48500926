-- Caller: AttemptDatabase::complete, on the handler's own connection, after attempt_settle. The
-- columns of one outcome, from the arrays that finish has for many.
SELECT {{schema}}.complete_in_task(
    ticket => $2::bytea, runner => $1::bigint, claim => ($3::bigint[])[1], task => ($4::bigint[])[1],
    child_handlers => $5::text[], child_args => $6::text[], child_queues => $7::text[], child_priorities => $8::integer[],
    child_delays => $9::float8[], child_run_ats => $10::timestamptz[], child_retries => $11::integer[],
    child_keys => $12::text[], child_scopes => $13::text[],
    {{success.arguments 14}})
    AS held
