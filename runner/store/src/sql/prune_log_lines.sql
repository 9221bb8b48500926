-- Caller: Store::prune. Reads the whole table, which contains only lines of running attempts and
-- of crashed runners. One row.
WITH gone AS (
    DELETE FROM {{schema}}.log_lines AS l
    WHERE l.ctid = ANY (ARRAY(
        SELECT d.ctid FROM {{schema}}.log_lines AS d
        WHERE d.at < now() - $1::float8 * interval '1 second'
          AND NOT EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = d.claim_id)
          AND NOT EXISTS (SELECT FROM {{schema}}.popped AS p WHERE p.task_id = d.task_id AND p.claim_id = d.claim_id)
        LIMIT 100000))
    RETURNING 1
)
SELECT count(*) AS deleted FROM gone
