;; An application whose every change is of many entries: eight keys that always
;; hold the same, if calls happen as a whole.
;;
;; init  writes its arguments under each of them
;; fill  does the same
;; look  answers with a list of what is under each, null where nothing is
;;
;; A core module in the shape that the component tooling expects of the world in
;; sdk/wit/.
(module
  (import "corelet:app/storage@0.2.1" "get" (func $get (param i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "set" (func $set (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 2)
  ;; Where the host's next argument goes.
  (global $free (mut i32) (i32.const 65536))

  (data (i32.const 16) "filllook")
  (data (i32.const 48) "null")
  (data (i32.const 56) "abcdefgh")
  (data (i32.const 64) "many")
  (data (i32.const 72) "0.1.0")

  ;; The description at 192: name, version, methods at 1024, nothing for init.
  (data (i32.const 192)
    "\40\00\00\00" "\04\00\00\00"
    "\48\00\00\00" "\05\00\00\00"
    "\00\04\00\00" "\02\00\00\00"
    "\00\00\00\00" "\00\00\00\00")
  ;; One record of 36 bytes for each method: name, kind (1: update), parameters,
  ;; returns, doc.
  (data (i32.const 1024)
    "\10\00\00\00" "\04\00\00\00" "\01\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00")
  (data (i32.const 1060)
    "\14\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00")

  ;; `ok` with "null" at 256.
  (data (i32.const 256) "\00\00\00\00" "\30\00\00\00" "\04\00\00\00")

  (func (export "describe") (result i32) (i32.const 192))

  (func $fill (param $args i32) (param $args-len i32)
    (local $n i32)
    (loop $next
      (call $set (i32.const 0) (i32.add (i32.const 56) (local.get $n)) (i32.const 1)
        (local.get $args) (local.get $args-len))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (i32.const 8)))))

  ;; `ok`, without a value, where memory is zero.
  (func (export "init") (param $args i32) (param $args-len i32) (result i32)
    (global.set $free (i32.const 65536))
    (call $fill (local.get $args) (local.get $args-len))
    (i32.const 320))

  ;; The answer grows from 2048; what the host gives lies from 65536.
  (func $look (result i32)
    (local $n i32) (local $at i32) (local $from i32) (local $len i32)
    (local.set $at (i32.const 2048))
    (loop $next
      ;; "[" before the first, "," before the others.
      (i32.store8 (local.get $at) (select (i32.const 0x2c) (i32.const 0x5b) (local.get $n)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (call $get (i32.const 0) (i32.add (i32.const 56) (local.get $n)) (i32.const 1) (i32.const 384))
      (local.set $from (i32.const 48))
      (local.set $len (i32.const 4))
      (if (i32.load8_u (i32.const 384)) (then
        (local.set $from (i32.load (i32.const 388)))
        (local.set $len (i32.load (i32.const 392)))))
      (memory.copy (local.get $at) (local.get $from) (local.get $len))
      (local.set $at (i32.add (local.get $at) (local.get $len)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (i32.const 8))))
    (i32.store8 (local.get $at) (i32.const 0x5d))
    (i32.store (i32.const 400) (i32.const 0))
    (i32.store (i32.const 404) (i32.const 2048))
    (i32.store (i32.const 408) (i32.sub (i32.add (local.get $at) (i32.const 1)) (i32.const 2048)))
    (i32.const 400))

  (func (export "call")
    (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
    (global.set $free (i32.const 65536))
    (if (i32.eq (i32.load8_u (local.get $method)) (i32.const 0x6c)) (then (return (call $look))))
    (call $fill (local.get $args) (local.get $args-len))
    (i32.const 256))

  (func (export "cabi_realloc") (param $old i32) (param $old-len i32) (param $align i32) (param $len i32)
    (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (local.get $at) (i32.and (i32.add (local.get $len) (i32.const 7)) (i32.const -8))))
    (local.get $at)))
