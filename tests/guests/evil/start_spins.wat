;; Never ends being made.
(func $start (loop $l (br $l)))
(start $start)
(func $run (param i32 i32 i32 i32) (result i32) unreachable)
