;; Logs its arguments as a warning with fields, reports progress, then aborts.
(data (i32.const 16384) "{\"n\":1}half")
(func $run (param $h i32) (param $hl i32) (param $a i32) (param $al i32) (result i32)
  (call $log (i32.const 2) (local.get $a) (local.get $al) (i32.const 16384) (i32.const 7))
  (call $progress (f64.const 0.5) (i32.const 16391) (i32.const 4))
  unreachable)
