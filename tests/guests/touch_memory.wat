;; Allocates 48 MiB, writes to all of it, and returns.
(func $run (param $h i32) (param $hl i32) (param $a i32) (param $al i32) (result i32)
  (drop (memory.grow (i32.const 768)))
  (memory.fill (i32.const 65536) (i32.const 7) (i32.const 50331648))
  (call $ok (local.get $a) (i32.const 0))
  (drop)
  (i32.store8 (i32.const 16384) (i32.const 49))
  (call $ok (i32.const 16384) (i32.const 1)))
