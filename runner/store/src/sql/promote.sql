-- Caller: Store::promote_next. $2, $3: where the last call stopped, or null. Index: scheduled_run_at.
SELECT p.count, extract(epoch FROM p.next_due)::float8 AS next_due, p.last_due, p.last_id, p.more
FROM {{schema}}.promote($1::integer, coalesce($2::timestamptz, '-infinity'), coalesce($3::bigint, 0)) AS p
