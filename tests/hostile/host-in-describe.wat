;; tries: to read the state of no context, when it is asked what it is.
;; install: not_an_application
;; says: storage.get was called outside of a call
(func $describe (result i32)
  (call $get (i32.const 276) (i32.const 1) (i32.const 512)) (i32.const 64))
