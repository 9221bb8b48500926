;; Calls memory.grow in an endless loop, although it fails.
(func $run (param i32 i32 i32 i32) (result i32)
  (loop $l
    (drop (memory.grow (i32.const 65535)))
    (br $l))
  unreachable)
