-- Caller: AttemptDatabase::checkpoint, on the handler's own connection, after attempt_settle.
SELECT {{schema}}.checkpoint_in_task($1::bytea, $2::bigint, $3::bigint, $4::bigint, $5::text) AS held
