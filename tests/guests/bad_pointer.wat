;; Returns a string outside its memory.
(func $run (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const -16) (i32.const 100)))
