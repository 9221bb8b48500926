-- Caller: Store::cancel. Rows: the tasks that were found.
SELECT m.id, m.was, m.changed FROM {{schema}}.cancel_tasks($1::bigint[]) AS m
