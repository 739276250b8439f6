;; One version of an application that is upgraded, and writes down in a text who has done what:
;; its updates a letter of their own, the hooks others.
;;
;; slow  an update: runs for 100,000 rounds of a loop for each byte of its arguments, then writes
;;       the version's letter, and behind it the last digit of their length if that is 12 or more
;; plan  an update: has the server call it in as many milliseconds as its arguments have bytes; the
;;       handler writes the letter
;; wait  a query: runs as long, then answers with the letter
;; read  a query: the text
;; turn  a query in some versions, an update in others: answers with the letter, and as an update
;;       writes it
;; flip  the same, the other way round
;;
;; One more update has a name of the version's own, and does what `slow` does. What stands in two
;; braces is filled in for each version. A core module in the shape that the
;; component tooling expects of the world in sdk/wit/.
(module
  (import "corelet:app/storage@0.2.1" "text-append" (func $text-append (param i32 i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "text-read"
    (func $text-read (param i32 i32 i32 i64 i64 i32)))
  (import "corelet:app/timers@0.2.1" "arm"
    (func $arm (param i32 i32 i32 i32 i32 i32 i64 i32 i64)))
  (memory (export "memory") 2)

  (data (i32.const 16) "slowwaitreadturnflip{{own}}plan")
  (data (i32.const 48) "null")
  (data (i32.const 56) "bma{{letter}}s")
  (data (i32.const 64) "upgradable")
  (data (i32.const 80) "{{letter}}.0.0")
  (data (i32.const 88) "\"{{letter}}\"")
  (data (i32.const 96) "\"no\"")
  (data (i32.const 104) "{}")

  ;; Seven records of 36 bytes: name, kind (1: update), parameters, returns, doc.
  (data (i32.const 1024)
    "\10\00\00\00" "\04\00\00\00" "\01\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\14\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\18\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\1c\00\00\00" "\04\00\00\00" "\0{{turn}}\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\20\00\00\00" "\04\00\00\00" "\0{{flip}}\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\24\00\00\00" "\04\00\00\00" "\01\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\28\00\00\00" "\04\00\00\00" "\01\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00")

  ;; The description at 192: name, version, methods, nothing for init.
  (data (i32.const 192)
    "\40\00\00\00" "\0a\00\00\00"
    "\50\00\00\00" "\05\00\00\00"
    "\00\04\00\00" "\07\00\00\00"
    "\00\00\00\00" "\00\00\00\00")

  ;; The answers: `ok` with the letter, and an error.
  (data (i32.const 256) "\00\00\00\00" "\58\00\00\00" "\03\00\00\00")
  (data (i32.const 272) "\01\00\00\00" "\60\00\00\00" "\04\00\00\00")

  (func (export "describe") (result i32) (i32.const 192))

  ;; `ok`, without a value, where memory is zero.
  (func (export "init") (param i32 i32) (result i32) (i32.const 320))

  ;; Writes the letter that lies there.
  (func $write (param $at i32)
    (call $text-append (i32.const 0) (i32.const 56) (i32.const 1) (local.get $at) (i32.const 1)))

  (func $run (param $rounds i32)
    (loop $again
      (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
      (br_if $again (i32.gt_s (local.get $rounds) (i32.const 0)))))

  (func (export "call") (param $method i32) (param i32) (param i32) (param $length i32) (result i32)
    (local $way i32)
    (local.set $way (i32.load8_u (local.get $method)))
    ;; wait
    (if (i32.eq (local.get $way) (i32.const 0x77)) (then
      (call $run (i32.mul (local.get $length) (i32.const 100000)))
      (return (i32.const 256))))
    ;; read: the text between two quotes
    (if (i32.eq (local.get $way) (i32.const 0x72)) (then
      (call $text-read (i32.const 0) (i32.const 56) (i32.const 1) (i64.const 0) (i64.const 60000)
        (i32.const 336))
      (i32.store8 (i32.sub (i32.load (i32.const 336)) (i32.const 1)) (i32.const 0x22))
      (i32.store8 (i32.add (i32.load (i32.const 336)) (i32.load (i32.const 340))) (i32.const 0x22))
      (i32.store (i32.const 352) (i32.const 0))
      (i32.store (i32.const 356) (i32.sub (i32.load (i32.const 336)) (i32.const 1)))
      (i32.store (i32.const 360) (i32.add (i32.load (i32.const 340)) (i32.const 2)))
      (return (i32.const 352))))
    ;; turn
    (if (i32.eq (local.get $way) (i32.const 0x74)) (then
      (if (i32.const {{turn}}) (then (call $write (i32.const 59))))
      (return (i32.const 256))))
    ;; flip
    (if (i32.eq (local.get $way) (i32.const 0x66)) (then
      (if (i32.const {{flip}}) (then (call $write (i32.const 59))))
      (return (i32.const 256))))
    ;; plan
    (if (i32.eq (local.get $way) (i32.const 0x70)) (then
      (call $arm (i32.const 40) (i32.const 4) (i32.const 40) (i32.const 4) (i32.const 104)
        (i32.const 2) (i64.mul (i64.extend_i32_u (local.get $length)) (i64.const 1000000))
        (i32.const 0) (i64.const 0))
      (return (i32.const 256))))
    (call $run (i32.mul (local.get $length) (i32.const 100000)))
    (call $write (i32.const 59))
    (if (i32.ge_u (local.get $length) (i32.const 12)) (then
      (i32.store8 (i32.const 112)
        (i32.add (i32.const 0x30) (i32.rem_u (local.get $length) (i32.const 10))))
      (call $write (i32.const 112))))
    (i32.const 256))

  (func (export "handle") (param i32 i32 i32 i32) (result i32)
    (call $write (i32.const 59))
    (i32.const 256))

  {{hooks}}

  ;; What comes in goes to the second page, round and round, with a byte to spare on both sides: no
  ;; call brings more than half of it.
  (global $free (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (i32.add (global.get $free) (i32.const 1)))
    (if (i32.gt_u (i32.add (local.get $at) (local.get $len)) (i32.const 131070))
      (then (local.set $at (i32.const 65537))))
    (global.set $free (i32.add (local.get $at) (i32.add (local.get $len) (i32.const 1))))
    (local.get $at)))
