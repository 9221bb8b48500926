-- Caller: Store::finish, after finish_take and in its transaction.
COPY {{schema}}.history ({{final.columns}}, runner_id) FROM STDIN (FORMAT binary)
