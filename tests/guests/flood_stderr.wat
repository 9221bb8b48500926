;; Writes lines to stderr in an endless loop.
;; import: (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
(data (i32.const 16384) "a\nb\nc\nd\ne\nf\ng\nh\n")
(func $run (param i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 17000) (i32.const 16384))
  (i32.store (i32.const 17004) (i32.const 16))
  (loop $l
    (drop (call $write (i32.const 2) (i32.const 17000) (i32.const 1) (i32.const 17008)))
    (br $l))
  unreachable)
