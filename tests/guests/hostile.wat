;; An application that misbehaves, one way for each of its updates. All of them
;; first write their own name under "k", so that a write is there to be undone:
;;
;; fine  answers null          trap  runs into `unreachable`
;; loop  never ends            deep  calls itself for ever
;; grow  takes all memory      junk  answers with what is not JSON
;; much  writes for ever
;;
;; And a query, `read`, which answers with what is under "k", or null.
;;
;; A core module in the shape that the component tooling expects of the world in
;; sdk/wit/.
(module
  (import "corelet:app/storage@0.2.1" "get" (func $get (param i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "set" (func $set (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 2)
  ;; Where the host's next argument goes.
  (global $free (mut i32) (i32.const 65536))

  (data (i32.const 16) "finetraploopdeepgrowjunkmuchread")
  (data (i32.const 48) "null")
  (data (i32.const 56) "k")
  (data (i32.const 64) "hostile")
  (data (i32.const 72) "0.1.0")

  ;; The description at 192: name, version, methods at 1024, nothing for init.
  (data (i32.const 192)
    "\40\00\00\00" "\07\00\00\00"
    "\48\00\00\00" "\05\00\00\00"
    "\00\04\00\00" "\08\00\00\00"
    "\00\00\00\00" "\00\00\00\00")

  ;; `ok` with "null" at 256, `ok` with "trap", which is no JSON, at 272.
  (data (i32.const 256) "\00\00\00\00" "\30\00\00\00" "\04\00\00\00")
  (data (i32.const 272) "\00\00\00\00" "\14\00\00\00" "\04\00\00\00")
  ;; `ok` with a name between quotation marks at 288.
  (data (i32.const 288) "\00\00\00\00" "\60\01\00\00" "\06\00\00\00")
  (data (i32.const 352) "\22name\22")

  ;; One record of 36 bytes for each name: name, kind (1: update; the last one is
  ;; a query), parameters, returns, doc.
  (func (export "describe") (result i32)
    (local $n i32) (local $at i32)
    (local.set $at (i32.const 1024))
    (loop $next
      (i32.store (local.get $at) (i32.add (i32.const 16) (i32.mul (local.get $n) (i32.const 4))))
      (i32.store offset=4 (local.get $at) (i32.const 4))
      (i32.store offset=8 (local.get $at) (i32.lt_u (local.get $n) (i32.const 7)))
      (i32.store offset=20 (local.get $at) (i32.const 48))
      (i32.store offset=24 (local.get $at) (i32.const 4))
      (local.set $at (i32.add (local.get $at) (i32.const 36)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (i32.const 8))))
    (i32.const 192))

  ;; `ok`, without a value, where memory is zero.
  (func (export "init") (param i32 i32) (result i32) (i32.const 320))

  (func $deep (param $n i32) (result i32)
    (i32.add (i32.const 1) (call $deep (i32.add (local.get $n) (i32.const 1)))))

  (func $read (result i32)
    (call $get (i32.const 0) (i32.const 56) (i32.const 1) (i32.const 336))
    (if (i32.eqz (i32.load8_u (i32.const 336))) (then (return (i32.const 256))))
    (i32.store (i32.const 353) (i32.load (i32.load (i32.const 340))))
    (i32.const 288))

  (func (export "call")
    (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
    (local $way i32)
    (local.set $way (i32.load8_u (local.get $method)))
    (global.set $free (i32.const 65536))
    (if (i32.eq (local.get $way) (i32.const 0x72)) (then (return (call $read))))
    (call $set (i32.const 0) (i32.const 56) (i32.const 1) (local.get $method) (i32.const 4))
    (if (i32.eq (local.get $way) (i32.const 0x74)) (then unreachable))
    (if (i32.eq (local.get $way) (i32.const 0x6c)) (then (loop $ever (br $ever))))
    (if (i32.eq (local.get $way) (i32.const 0x64)) (then (drop (call $deep (i32.const 0)))))
    (if (i32.eq (local.get $way) (i32.const 0x67)) (then
      (loop $more (drop (memory.grow (i32.const 64))) (br $more))))
    (if (i32.eq (local.get $way) (i32.const 0x6a)) (then (return (i32.const 272))))
    (if (i32.eq (local.get $way) (i32.const 0x6d)) (then
      (loop $more
        (i32.store (i32.const 400) (i32.add (i32.load (i32.const 400)) (i32.const 1)))
        (call $set (i32.const 0) (i32.const 400) (i32.const 4) (i32.const 48) (i32.const 4))
        (br $more))))
    (i32.const 256))

  (func (export "cabi_realloc") (param $old i32) (param $old-len i32) (param $align i32) (param $len i32)
    (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (local.get $at) (i32.and (i32.add (local.get $len) (i32.const 7)) (i32.const -8))))
    (local.get $at)))
