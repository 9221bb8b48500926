;; Reads random bytes in an endless loop.
;; import: (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
(func $run (param i32 i32 i32 i32) (result i32)
  (loop $l
    (drop (call $random (i32.const 65536) (i32.const 60000)))
    (br $l))
  unreachable)
