;; Answers with 8 MiB: beyond what may cross the border at all.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (drop (memory.grow (i32.const 256)))
  (call $ok (i32.const 65536) (i32.const 8388608)))
