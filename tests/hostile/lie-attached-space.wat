;; tries: to write into the space of attached blobs, which is inside the store and in no enum.
;; update: invalid_output
;; says: discriminant
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $insert (i32.const 4) (i32.const 276) (i32.const 1))) (call $ok-null))
