;; Waits until it is cancelled, then ends as the first byte of its arguments specifies: 0
;; with a result, 1 with an error.
;; import: (import "pgtq:plugin/context@1.0.0" "is-cancelled" (func $is_cancelled (result i32)))
(data (i32.const 16384) "\22tidy\22stopped half way")
(func $run (param $h i32) (param $hl i32) (param $a i32) (param $al i32) (result i32)
  (loop $l (br_if $l (i32.eqz (call $is_cancelled))))
  (if (i32.eq (i32.load8_u (local.get $a)) (i32.const 48))
    (then (return (call $ok (i32.const 16384) (i32.const 6)))))
  (call $err (i32.const 0) (i64.const -1) (i32.const 16390) (i32.const 16)))
