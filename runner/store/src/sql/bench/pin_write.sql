-- Caller: Store::bench_pin. Takes a transaction id, as a writer does.
SELECT txid_current()
