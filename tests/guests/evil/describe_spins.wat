;; `describe` loops without end.
(func (export "describe") (result i32) (loop $l (br $l)) unreachable)
(func $run (param i32 i32 i32 i32) (result i32) unreachable)
