;; `describe` returns bytes that are not UTF-8.
(data (i32.const 16384) "{\ff\fe}")
(func (export "describe") (result i32)
  (i32.store (i32.const 512) (i32.const 16384))
  (i32.store (i32.const 516) (i32.const 4))
  (i32.const 512))
(func $run (param i32 i32 i32 i32) (result i32) unreachable)
