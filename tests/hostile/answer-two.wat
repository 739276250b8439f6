;; tries: to answer with two values, so that one becomes a member of the reply.
;; update: invalid_output
;; says: its answer is not JSON
(data (i32.const 600) "null,\22delta_id\22:\22forged\22,\22root\22:0")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 600) (i32.const 33)))
