;; Answers with 1.5 MiB of blanks: within what may cross the border, beyond
;; what an answer may be.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (drop (memory.grow (i32.const 32)))
  (call $ok (i32.const 65536) (i32.const 1572864)))
