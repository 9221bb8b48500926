;; Asks for more memory for ever, though it gets none.
(func $run (param i32 i32 i32 i32) (result i32)
  (loop $l
    (drop (memory.grow (i32.const 65535)))
    (br $l))
  unreachable)
