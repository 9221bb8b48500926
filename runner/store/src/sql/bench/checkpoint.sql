-- Caller: Store::bench_checkpoint. So that none is due while the clock runs.
CHECKPOINT
