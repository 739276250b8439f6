;; tries: to call the host for ever, where a call costs the least.
;; update: limit_exceeded limits.host_calls_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (drop (call $now)) (br $again)) unreachable)
