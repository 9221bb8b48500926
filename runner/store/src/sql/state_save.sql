-- Caller: AttemptDatabase::save. Indexes: claims_pkey, task_state_pkey. No rows: the claim is no
-- longer ours, and nothing was saved.
WITH held AS MATERIALIZED (
    SELECT c.id FROM {{schema}}.claims AS c WHERE c.id = $2::bigint AND c.runner_id = $1::bigint FOR KEY SHARE
)
INSERT INTO {{schema}}.task_state (task_id, name, value, claim_id)
SELECT $3::bigint, $4::text, $5::text::json, h.id FROM held AS h
ON CONFLICT (task_id, name) DO UPDATE SET value = EXCLUDED.value, claim_id = EXCLUDED.claim_id, saved_at = EXCLUDED.saved_at
RETURNING task_id
