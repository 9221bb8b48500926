-- Caller: Store::pause_queue, Store::pause_handler. One row.
SELECT {{schema}}.pause(queue => $1::text, handler => $2::text) AS changed
