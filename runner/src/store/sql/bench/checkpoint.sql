-- Caller: Store::bench_settle. So that none is due while the clock runs.
CHECKPOINT
