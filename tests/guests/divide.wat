;; Divides by zero, three named functions deep.
(func $_ZN4work5outer17h0123456789abcdefE (result i32) (call $_ZN4work5inner17h0123456789abcdefE (i32.const 0)))
(func $_ZN4work5inner17h0123456789abcdefE (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
(func $run (param i32 i32 i32 i32) (result i32)
  (call $_ZN4work5outer17h0123456789abcdefE))
