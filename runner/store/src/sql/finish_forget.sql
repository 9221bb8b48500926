-- Caller: Store::finish, for completed tasks that saved values. Index: task_state_pkey.
DELETE FROM {{schema}}.task_state AS s WHERE s.task_id = ANY ($1::bigint[])
