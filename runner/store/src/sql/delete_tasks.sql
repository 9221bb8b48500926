-- Caller: Store::delete. Rows: the tasks that were found.
SELECT m.id, m.was, m.changed FROM {{schema}}.delete_tasks($1::bigint[]) AS m
