;; Logs one line of 5 MiB.
(func $run (param i32 i32 i32 i32) (result i32)
  (drop (memory.grow (i32.const 90)))
  (memory.fill (i32.const 65536) (i32.const 120) (i32.const 5242880))
  (call $log (i32.const 1) (i32.const 65536) (i32.const 5242880) (i32.const 0) (i32.const 0))
  unreachable)
