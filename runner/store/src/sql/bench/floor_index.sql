-- Caller: Store::floor_create. For floor_claim.
CREATE INDEX floor_waiting ON {{schema}}.floor_jobs (id) WHERE state = 0
