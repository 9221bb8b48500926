;; Logs its arguments, then sleeps for an hour inside the host.
;; import: (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
(func $run (param $h i32) (param $hl i32) (param $a i32) (param $al i32) (result i32)
  (call $log (i32.const 1) (local.get $a) (local.get $al) (i32.const 0) (i32.const 0))
  (i32.store8 (i32.const 16392) (i32.const 0))
  (i32.store (i32.const 16400) (i32.const 1))
  (i64.store (i32.const 16408) (i64.const 3600000000000))
  (drop (call $poll (i32.const 16384) (i32.const 17000) (i32.const 1) (i32.const 18000)))
  unreachable)
