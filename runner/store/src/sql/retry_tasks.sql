-- Caller: Store::retry. Rows: the tasks that were found.
SELECT m.id, m.was, m.changed FROM {{schema}}.retry_tasks($1::bigint[]) AS m
