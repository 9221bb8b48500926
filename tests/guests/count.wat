;; Counts its calls in a global and in memory, and leaves its arguments in memory. Returns
;; the sum of the counters, which is always 1 if instances are isolated.
(global $calls (mut i32) (i32.const 0))
(func $run (param $h i32) (param $hl i32) (param $a i32) (param $al i32) (result i32)
  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (i32.store8 (i32.const 16384)
    (i32.add (i32.const 48)
      (i32.add (global.get $calls)
        (i32.add (i32.load8_u (i32.const 20000)) (i32.load8_u (i32.const 40000))))))
  (i32.store8 (i32.const 20000) (i32.const 1))
  (i32.store8 (i32.const 40000) (i32.const 1))
  (call $ok (i32.const 16384) (i32.const 1)))
