;; Returns 100 MB.
(func $run (param i32 i32 i32 i32) (result i32)
  (drop (memory.grow (i32.const 1600)))
  (call $ok (i32.const 65536) (i32.const 100000000)))
