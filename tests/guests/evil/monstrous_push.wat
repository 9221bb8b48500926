;; Pushes a task for a handler whose name is a megabyte; the bytes are its fuel.
(func $run (param i32 i32 i32 i32) (result i32)
  (drop (memory.grow (i32.const 40)))
  (memory.fill (i32.const 65536) (i32.const 120) (i32.const 1000000))
  (call $push (i32.const 65536) (i32.const 1000000) (i32.const 16384) (i32.const 2)
    (i32.const 0) (i32.const 0) (i32.const 16400))
  (call $err (i32.const 1) (i64.const -1) (i32.load (i32.const 16404)) (i32.load (i32.const 16408))))
(data (i32.const 16384) "[]")
