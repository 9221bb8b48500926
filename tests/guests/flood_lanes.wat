;; Pushes with different priorities until the host returns an error, and fails with its
;; message. The priority has three digits.
(data (i32.const 16384) "child[1]")
(data (i32.const 16400) "{\"priority\":100}")
(func $run (param i32 i32 i32 i32) (result i32)
  (local $digit i32)
  (loop $l
    (local.set $digit (i32.const 16414))
    (loop $carry
      (i32.store8 (local.get $digit) (i32.add (i32.load8_u (local.get $digit)) (i32.const 1)))
      (if (i32.gt_u (i32.load8_u (local.get $digit)) (i32.const 57))
        (then
          (i32.store8 (local.get $digit) (i32.const 48))
          (local.set $digit (i32.sub (local.get $digit) (i32.const 1)))
          (br $carry))))
    (call $push (i32.const 16384) (i32.const 5) (i32.const 16389) (i32.const 3)
      (i32.const 16400) (i32.const 16) (i32.const 17000))
    (br_if $l (i32.eqz (i32.load8_u (i32.const 17000)))))
  (call $err (i32.const 1) (i64.const -1) (i32.load (i32.const 17004)) (i32.load (i32.const 17008))))
