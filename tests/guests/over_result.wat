;; Returns 2 MiB: within the limit of a call, above the limit of a result.
(func $run (param i32 i32 i32 i32) (result i32)
  (drop (memory.grow (i32.const 40)))
  (memory.fill (i32.const 65536) (i32.const 49) (i32.const 2097152))
  (call $ok (i32.const 65536) (i32.const 2097152)))
