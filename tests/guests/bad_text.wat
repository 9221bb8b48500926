;; Returns text that is not UTF-8.
(data (i32.const 16384) "\22\ff\fe\22")
(func $run (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 16384) (i32.const 4)))
