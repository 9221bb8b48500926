;; Creates host resources in an endless loop without dropping them.
;; import: (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(func $run (param i32 i32 i32 i32) (result i32)
  (loop $l
    (drop (call $subscribe (i64.const 3600000000000)))
    (br $l))
  unreachable)
