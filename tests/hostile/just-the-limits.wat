;; tries: to come to just what it may: the longest key, value and kind of an event, and the most
;;   entries.
;; memory: 18
;; update: answers null
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 1024) (i32.const 480) (i32.const 65536) (i32.const 1048576))
  (call $emit (i32.const 1024) (i32.const 128) (i32.const 272) (i32.const 4))
  (loop $again
    (i32.store (i32.const 600) (i32.add (i32.load (i32.const 600)) (i32.const 1)))
    (call $set (i32.const 600) (i32.const 4) (i32.const 272) (i32.const 4))
    (br_if $again (i32.lt_u (i32.load (i32.const 600)) (i32.const 9997))))
  (call $ok-null))
