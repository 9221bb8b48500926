-- Caller: Store::resume_queue, Store::resume_handler. One row.
SELECT {{schema}}.resume(queue => $1::text, handler => $2::text) AS changed
