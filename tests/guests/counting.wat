;; An application that counts its calls in a global of its own, which nothing but
;; the instance knows, and that is as large as one likes:
;;
;; count  a query: counts, and says how often this instance has
;; tick   an update: writes, counts, and says the same
;; fail   an update: counts, and crashes
;;
;; Numbers are told by their last digit. A core module in the shape that the
;; component tooling expects of the world in sdk/wit/.
(module
  (import "corelet:app/storage@0.2.0" "set" (func $set (param i32 i32 i32 i32 i32)))
  (memory (export "memory") {{pages}})
  (global $counted (mut i32) (i32.const 0))

  (data (i32.const 16) "counttickfail")
  (data (i32.const 32) "k")
  (data (i32.const 64) "counting")
  (data (i32.const 72) "0.1.0")
  {{data}}

  ;; Three records of 36 bytes: name, kind (1: update), parameters, returns, doc.
  (data (i32.const 1024)
    "\10\00\00\00" "\05\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\20\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\15\00\00\00" "\04\00\00\00" "\01\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\20\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\19\00\00\00" "\04\00\00\00" "\01\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\20\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00")

  ;; The description at 192: name, version, methods, nothing for init.
  (data (i32.const 192)
    "\40\00\00\00" "\08\00\00\00"
    "\48\00\00\00" "\05\00\00\00"
    "\00\04\00\00" "\03\00\00\00"
    "\00\00\00\00" "\00\00\00\00")

  ;; The answer: `ok` with the one character at 288.
  (data (i32.const 256) "\00\00\00\00" "\20\01\00\00" "\01\00\00\00")

  (func (export "describe") (result i32) (i32.const 192))

  ;; `ok`, without a value, where memory is zero.
  (func (export "init") (param i32 i32) (result i32) (i32.const 320))

  (func (export "call") (param $method i32) (param i32 i32 i32) (result i32)
    (local $way i32)
    (local.set $way (i32.load8_u (local.get $method)))
    (global.set $counted (i32.add (global.get $counted) (i32.const 1)))
    (if (i32.eq (local.get $way) (i32.const 0x66)) (then unreachable))
    (if (i32.eq (local.get $way) (i32.const 0x74)) (then
      (call $set (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 64) (i32.const 4))))
    (i32.store8 (i32.const 288) (i32.add (i32.const 0x30)
      (i32.rem_u (global.get $counted) (i32.const 10))))
    (i32.const 256))

  ;; What comes in goes to the second page, round and round: no call outlives the
  ;; next, and none brings much.
  (global $free (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (i32.const 65536)
      (i32.and (i32.add (i32.sub (local.get $at) (i32.const 65536)) (local.get $len)) (i32.const 4095))))
    (local.get $at)))
