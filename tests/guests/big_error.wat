;; Fails with 2 MiB of text.
(func $run (param i32 i32 i32 i32) (result i32)
  (drop (memory.grow (i32.const 40)))
  (memory.fill (i32.const 65536) (i32.const 120) (i32.const 2097152))
  (call $err (i32.const 0) (i64.const -1) (i32.const 65536) (i32.const 2097152)))
