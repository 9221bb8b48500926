;; `cabi_realloc` loops without end.
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (loop $l (br $l)) unreachable)
(func $run (param i32 i32 i32 i32) (result i32) unreachable)
