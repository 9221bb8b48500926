;; `describe` returns 10 MB.
(func (export "describe") (result i32)
  (drop (memory.grow (i32.const 200)))
  (i32.store (i32.const 512) (i32.const 65536))
  (i32.store (i32.const 516) (i32.const 10000000))
  (i32.const 512))
(func $run (param i32 i32 i32 i32) (result i32) unreachable)
