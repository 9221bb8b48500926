-- Caller: Store::finish, after finish_take and in its transaction. The columns are
-- those of finish_many.rs, in this order.
COPY {{schema}}.history
    (id, state, priority, attempts, crashes, retries, queue, handler, args, result,
     error_kind, error_code, error_message, error_details, backtrace, logs, logs_dropped,
     pushed_at, due_at, started_at, finished_at,
     fuel, peak_memory, wall_us, digest, runner_id, claim_id, key, parent)
FROM STDIN (FORMAT binary)
