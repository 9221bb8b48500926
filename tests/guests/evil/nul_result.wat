;; Returns a string with a NUL.
(data (i32.const 16384) "\22a\00b\22")
(func $run (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 16384) (i32.const 5)))
