;; Pushes a task `child` with the arguments [1] and its own arguments as
;; options; returns true, or fails with what the host said.
(data (i32.const 16384) "child[1]true")
(func $run (param $h i32) (param $hl i32) (param $a i32) (param $al i32) (result i32)
  (call $push (i32.const 16384) (i32.const 5) (i32.const 16389) (i32.const 3)
    (local.get $a) (local.get $al) (i32.const 17000))
  (if (result i32) (i32.load8_u (i32.const 17000))
    (then (call $err (i32.const 1) (i64.const -1) (i32.load (i32.const 17004)) (i32.load (i32.const 17008))))
    (else (call $ok (i32.const 16392) (i32.const 4)))))
