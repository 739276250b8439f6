;; tries: to log what a terminal would take for commands, and lines that look like the server's.
;; update: answers null
;; logs: 1
(data (i32.const 600) "\1b[2J\07\0d\0a{\22level\22:\22ERROR\22,\22message\22:\22panicked\22}\00\00")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $write (i32.const 0) (i32.const 600) (i32.const 45)) (call $ok-null))
