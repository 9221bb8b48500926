;; Logs a million lines.
(data (i32.const 16384) "spam")
(func $run (param i32 i32 i32 i32) (result i32)
  (local $n i32)
  (loop $l
    (call $log (i32.const 1) (i32.const 16384) (i32.const 4) (i32.const 0) (i32.const 0))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br_if $l (i32.lt_u (local.get $n) (i32.const 1000000))))
  unreachable)
