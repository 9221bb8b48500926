;; Returns a thousand nested brackets.
(func $run (param i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 20000) (i32.const 91) (i32.const 1000))
  (memory.fill (i32.const 21000) (i32.const 93) (i32.const 1000))
  (call $ok (i32.const 20000) (i32.const 2000)))
