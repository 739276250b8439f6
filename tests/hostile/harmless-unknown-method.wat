;; tries: to have a method that is not in its description: the server does not come to it.
;; method: ../run
;; update: unknown_method
;; unmarked: it never runs
(func $call (param i32 i32 i32 i32) (result i32)
  (return (call $ok-null)))
