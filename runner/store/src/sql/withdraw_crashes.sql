-- Caller: Store::register. Index: crash_reports_runner. One row: how many reports
-- of the runner that this process was before it lost its lease were withdrawn.
SELECT {{schema}}.withdraw_crashes($1::bigint, $2::bigint) AS withdrawn
