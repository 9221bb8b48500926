;; The start function loops without end.
(func $start (loop $l (br $l)))
(start $start)
(func $run (param i32 i32 i32 i32) (result i32) unreachable)
