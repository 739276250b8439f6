;; tries: to attach and to detach blobs that are none, by names that lead elsewhere.
;; update: answers 0
(data (i32.const 600) "../../token<<44 * 1>>")
(func $call (param i32 i32 i32 i32) (result i32) (local $found i64)
  (call $attach (i32.const 600) (i32.const 11) (i32.const 512))
  (local.set $found (i64.load32_u (i32.const 512)))
  (call $attach (i32.const 600) (i32.const 0) (i32.const 512))
  (local.set $found (i64.add (local.get $found) (i64.load32_u (i32.const 512))))
  (call $size (i32.const 611) (i32.const 44) (i32.const 512))
  (local.set $found (i64.add (local.get $found) (i64.load32_u (i32.const 512))))
  (local.set $found (i64.add (local.get $found)
    (i64.extend_i32_u (call $detach (i32.const 611) (i32.const 44)))))
  (call $ok-number (local.get $found)))
