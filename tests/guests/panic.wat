;; Panics as the SDK does: a message, then a trap.
(data (i32.const 16384) "no such user: 7, at src/lib.rs:3:5")
(func $run (param i32 i32 i32 i32) (result i32)
  (call $panicked (i32.const 16384) (i32.const 34))
  unreachable)
