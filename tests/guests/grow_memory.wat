;; Grows its memory until that fails, then aborts, like a failed allocation.
(func $run (param i32 i32 i32 i32) (result i32)
  (loop $l
    (br_if $l (i32.ne (i32.const -1) (memory.grow (i32.const 16)))))
  unreachable)
