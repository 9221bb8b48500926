;; Fails with a message with control characters, a NUL and a direction override.
(data (i32.const 16384) "\1b[2Ja\00b\07\r\nc\e2\80\aed")
(func $run (param i32 i32 i32 i32) (result i32)
  (call $err (i32.const 1) (i64.const -1) (i32.const 16384) (i32.const 16)))
