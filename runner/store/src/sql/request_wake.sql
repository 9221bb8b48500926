-- Caller: Store::request_wake. One row; no table.
SELECT r.flag, r.fresh FROM {{schema}}.request_wake($1::text) AS r
