;; `describe` returns a million brackets.
(func (export "describe") (result i32)
  (drop (memory.grow (i32.const 20)))
  (memory.fill (i32.const 65536) (i32.const 91) (i32.const 1000000))
  (i32.store (i32.const 512) (i32.const 65536))
  (i32.store (i32.const 516) (i32.const 1000000))
  (i32.const 512))
(func $run (param i32 i32 i32 i32) (result i32) unreachable)
