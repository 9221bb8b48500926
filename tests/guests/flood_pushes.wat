;; Pushes until the host returns an error, and fails with its message.
(data (i32.const 16384) "child[1]")
(func $run (param i32 i32 i32 i32) (result i32)
  (loop $l
    (call $push (i32.const 16384) (i32.const 5) (i32.const 16389) (i32.const 3)
      (i32.const 0) (i32.const 0) (i32.const 17000))
    (br_if $l (i32.eqz (i32.load8_u (i32.const 17000)))))
  (call $err (i32.const 1) (i64.const -1) (i32.load (i32.const 17004)) (i32.load (i32.const 17008))))
