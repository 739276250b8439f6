;; With arguments: writes them under "k". Without: answers with what is there.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (if (i32.gt_u (local.get $args-len) (i32.const 2)) (then
    (call $set (i32.const 276) (i32.const 1) (local.get $args) (local.get $args-len))
    (call $emit (i32.const 276) (i32.const 1) (local.get $args) (local.get $args-len))
    (return (call $ok-null))))
  (call $get (i32.const 276) (i32.const 1) (i32.const 512))
  (if (i32.load8_u (i32.const 512)) (then
    (return (call $ok (i32.load (i32.const 516)) (i32.load (i32.const 520))))))
  (call $ok-null))
