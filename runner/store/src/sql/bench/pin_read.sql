-- Caller: Store::bench_pin. The first statement takes the snapshot; no table is
-- named, so that nothing is locked and the schema can be dropped meanwhile.
SELECT txid_current_snapshot()
