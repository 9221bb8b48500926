-- Caller: Store::finish, after finish_take and in its transaction. The columns are those of
-- finish_many.rs, in this order.
COPY {{schema}}.history
    ({{carried}}, id, state, attempts, crashes, result,
     error_kind, error_code, error_message, error_details, backtrace, logs, logs_dropped,
     due_at, started_at, finished_at, fuel, peak_memory, wall_us, digest, runner_id, claim_id)
FROM STDIN (FORMAT binary)
