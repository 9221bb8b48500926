;; Calls through an empty table entry.
(table $t 1 funcref)
(type $f (func (result i32)))
(func $run (param i32 i32 i32 i32) (result i32)
  (call_indirect $t (type $f) (i32.const 0)))
