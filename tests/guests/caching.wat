;; An application that remembers in its memory which version its state has, as
;; one would that keeps there what it has read and written:
;;
;; keep  an update: writes, and remembers the version that this will make
;; deny  the same, and then says no
;; note  the same, and writes a text too
;; peek  a query: whether it remembers a version beyond the one it is told
;;
;; A core module in the shape that the component tooling expects of the world in
;; sdk/wit/.
(module
  (import "corelet:app/context@0.2.1" "state-version" (func $state-version (result i64)))
  (import "corelet:app/storage@0.2.1" "set" (func $set (param i32 i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "text-append" (func $text-append (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (global $remembered (mut i64) (i64.const 0))

  (data (i32.const 16) "peekkeepdenynote")
  (data (i32.const 32) "null")
  (data (i32.const 40) "true")
  (data (i32.const 48) "false")
  (data (i32.const 56) "kt")
  (data (i32.const 64) "caching")
  (data (i32.const 72) "0.1.0")

  ;; Four records of 36 bytes: name, kind (1: update), parameters, returns, doc.
  (data (i32.const 1024)
    "\10\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\20\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\14\00\00\00" "\04\00\00\00" "\01\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\20\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\18\00\00\00" "\04\00\00\00" "\01\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\20\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\1c\00\00\00" "\04\00\00\00" "\01\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\20\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00")

  ;; The description at 192: name, version, methods, nothing for init.
  (data (i32.const 192)
    "\40\00\00\00" "\07\00\00\00"
    "\48\00\00\00" "\05\00\00\00"
    "\00\04\00\00" "\04\00\00\00"
    "\00\00\00\00" "\00\00\00\00")

  ;; The answers: `ok` with "null", "true" and "false", and an error with "null".
  (data (i32.const 256) "\00\00\00\00" "\20\00\00\00" "\04\00\00\00")
  (data (i32.const 272) "\00\00\00\00" "\28\00\00\00" "\04\00\00\00")
  (data (i32.const 288) "\00\00\00\00" "\30\00\00\00" "\05\00\00\00")
  (data (i32.const 304) "\01\00\00\00" "\20\00\00\00" "\04\00\00\00")

  (func (export "describe") (result i32) (i32.const 192))

  ;; `ok`, without a value, where memory is zero.
  (func (export "init") (param i32 i32) (result i32) (i32.const 320))

  (func (export "call") (param $method i32) (param i32 i32 i32) (result i32)
    (local $way i32) (local $version i64)
    (local.set $way (i32.load8_u (local.get $method)))
    (local.set $version (call $state-version))
    (if (i32.eq (local.get $way) (i32.const 0x70)) (then
      (return (select (i32.const 272) (i32.const 288)
        (i64.gt_u (global.get $remembered) (local.get $version))))))
    (if (i32.eq (local.get $way) (i32.const 0x6e)) (then
      (call $text-append (i32.const 0) (i32.const 57) (i32.const 1) (i32.const 16) (i32.const 4))))
    (call $set (i32.const 0) (i32.const 56) (i32.const 1) (i32.const 32) (i32.const 4))
    (global.set $remembered (i64.add (local.get $version) (i64.const 1)))
    (select (i32.const 304) (i32.const 256) (i32.eq (local.get $way) (i32.const 0x64))))

  ;; What comes in goes to the second page, round and round: no call outlives the
  ;; next, and none brings much.
  (global $free (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (i32.const 65536)
      (i32.and (i32.add (i32.sub (local.get $at) (i32.const 65536)) (local.get $len)) (i32.const 4095))))
    (local.get $at)))
