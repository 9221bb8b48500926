-- Caller: AttemptDatabase::complete, on the handler's own connection, after attempt_settle. The
-- columns of one outcome, from the arrays that finish has for many.
SELECT {{schema}}.complete_in_task(
    ticket => $25::bytea, runner => $1::bigint,
    queue => ($2::text[])[1], handler => ($3::text[])[1], priority => ($4::integer[])[1], retries => ($5::integer[])[1],
    pushed_at => ($6::timestamptz[])[1], key => ($7::text[])[1], parent => ($8::bigint[])[1], traits => ($9::jsonb[])[1],
    args => ($10::json[])[1],
    claim => ($11::bigint[])[1], task => ($12::bigint[])[1], result => ($13::text[])[1], logs => ($14::text[])[1],
    logs_dropped => ($15::bigint[])[1], attempts => ($16::integer[])[1], crashes => ($17::integer[])[1],
    due_at => ($18::timestamptz[])[1], since_start => ($19::float8[])[1], since_end => ($20::float8[])[1],
    fuel => ($21::bigint[])[1], peak_memory => ($22::bigint[])[1], wall_us => ($23::bigint[])[1], digest => ($24::bytea[])[1],
    child_handlers => $26::text[], child_args => $27::text[], child_queues => $28::text[], child_priorities => $29::integer[],
    child_delays => $30::float8[], child_run_ats => $31::timestamptz[], child_retries => $32::integer[],
    child_keys => $33::text[], child_scopes => $34::text[])
    AS held
