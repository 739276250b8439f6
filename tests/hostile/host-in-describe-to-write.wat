;; tries: to write to the state of no context, when it is asked what it is.
;; install: not_an_application
;; says: storage.set was called outside of a call
(func $describe (result i32)
  (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)) (i32.const 64))
