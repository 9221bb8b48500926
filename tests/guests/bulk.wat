;; Grows to 256 MiB, then fills all of it with one instruction (arguments "fill"), copies
;; one half over the other ("copy"), or does nothing.
(func $run (param i32 i32) (param $args i32) (param i32) (result i32)
  (drop (memory.grow (i32.const 4096)))
  (if (i32.eq (i32.load8_u (local.get $args)) (i32.const 102))
    (then (memory.fill (i32.const 131072) (i32.const 7) (i32.const 268435456))))
  (if (i32.eq (i32.load8_u (local.get $args)) (i32.const 99))
    (then (memory.copy (i32.const 131072) (i32.const 134217728) (i32.const 134217728))))
  (i32.store8 (i32.const 16384) (i32.const 49))
  (call $ok (i32.const 16384) (i32.const 1)))
