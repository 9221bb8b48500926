;; Grows its table until that fails, then aborts.
(table $t 1 funcref)
(func $run (param i32 i32 i32 i32) (result i32)
  (loop $l
    (br_if $l (i32.ne (i32.const -1) (table.grow $t (ref.null func) (i32.const 1000)))))
  unreachable)
