//! What counting fuel costs compiled code: guests that only compute, with it and without it, one after the
//! other in each sample.
//!
//! Runs on the core that the server otherwise has.

use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use corelet_wasm_host::operator_costs;
use wasmtime::{Config, Engine, Instance, Module, OptLevel, Store, TypedFunc};

use super::inside::on_the_servers_core;
use crate::figure::{Fact, Series};
use crate::run::{Found, Plan};

/// By how much longer a guest may take that is metered.
const RATIO_MAX: f64 = 1.25;

/// Each exports `run: func(i32) -> i64`, whose argument is how much it has to do.
const GUESTS: &[(&str, i32, &str)] = &[
    (
        "calls: fibonacci",
        30,
        r#"
      (func $fib (param $n i32) (result i64)
        (if (result i64) (i32.lt_u (local.get $n) (i32.const 2))
          (then (i64.extend_i32_u (local.get $n)))
          (else (i64.add (call $fib (i32.sub (local.get $n) (i32.const 1)))
                         (call $fib (i32.sub (local.get $n) (i32.const 2)))))))
      (func (export "run") (param i32) (result i64) (call $fib (local.get 0)))"#,
    ),
    (
        "memory: sieve",
        900_000,
        r#"
      (memory 16)
      (func (export "run") (param $n i32) (result i64) (local $i i32) (local $j i32) (local $count i64)
        (memory.fill (i32.const 0) (i32.const 0) (local.get $n))
        (local.set $i (i32.const 2))
        (loop $next
          (if (i32.eqz (i32.load8_u (local.get $i))) (then
            (local.set $count (i64.add (local.get $count) (i64.const 1)))
            (local.set $j (i32.shl (local.get $i) (i32.const 1)))
            (block $done (loop $strike
              (br_if $done (i32.ge_u (local.get $j) (local.get $n)))
              (i32.store8 (local.get $j) (i32.const 1))
              (local.set $j (i32.add (local.get $j) (local.get $i)))
              (br $strike)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $i) (local.get $n))))
        (local.get $count))"#,
    ),
    (
        "long blocks: a hash",
        400_000,
        r#"
      (func (export "run") (param $n i32) (result i64) (local $a i64) (local $b i64) (local $c i64)
        (local.set $a (i64.const 0x9E3779B97F4A7C15))
        (local.set $b (i64.const 0xBF58476D1CE4E5B9))
        (local.set $c (i64.const 0x94D049BB133111EB))
        (loop $next
          (local.set $a (i64.mul (i64.xor (local.get $a) (i64.shr_u (local.get $b) (i64.const 30))) (i64.const 0xBF58476D1CE4E5B9)))
          (local.set $b (i64.mul (i64.xor (local.get $b) (i64.shr_u (local.get $c) (i64.const 27))) (i64.const 0x94D049BB133111EB)))
          (local.set $c (i64.add (i64.rotl (local.get $c) (i64.const 13)) (local.get $a)))
          (local.set $a (i64.xor (i64.rotl (local.get $a) (i64.const 7)) (local.get $c)))
          (local.set $b (i64.add (i64.rotl (local.get $b) (i64.const 17)) (local.get $a)))
          (local.set $c (i64.xor (i64.mul (local.get $c) (i64.const 0x9E3779B97F4A7C15)) (local.get $b)))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br_if $next (local.get $n)))
        (i64.xor (local.get $a) (i64.xor (local.get $b) (local.get $c))))"#,
    ),
    (
        "nested loops: a product",
        120,
        r#"
      (memory 16)
      (func (export "run") (param $n i32) (result i64)
        (local $i i32) (local $j i32) (local $k i32) (local $sum i32) (local $all i64)
        (local.set $i (i32.const 0))
        (loop $rows
          (local.set $j (i32.const 0))
          (loop $columns
            (local.set $k (i32.const 0)) (local.set $sum (i32.const 0))
            (loop $terms
              (local.set $sum (i32.add (local.get $sum) (i32.mul
                (i32.load (i32.shl (i32.add (i32.mul (local.get $i) (local.get $n)) (local.get $k)) (i32.const 2)))
                (i32.load offset=262144 (i32.shl (i32.add (i32.mul (local.get $k) (local.get $n)) (local.get $j)) (i32.const 2))))))
              (local.set $k (i32.add (local.get $k) (i32.const 1)))
              (br_if $terms (i32.lt_u (local.get $k) (local.get $n))))
            (i32.store offset=524288 (i32.shl (i32.add (i32.mul (local.get $i) (local.get $n)) (local.get $j)) (i32.const 2)) (local.get $sum))
            (local.set $all (i64.add (local.get $all) (i64.extend_i32_u (local.get $sum))))
            (local.set $j (i32.add (local.get $j) (i32.const 1)))
            (br_if $columns (i32.lt_u (local.get $j) (local.get $n))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $rows (i32.lt_u (local.get $i) (local.get $n))))
        (local.get $all))"#,
    ),
    (
        "branches: an interpreter",
        600_000,
        r#"
      (memory 1)
      (data (i32.const 0) "\00\01\02\03\04\01\05\02\00\03\01\04\02\05\00\01")
      (func (export "run") (param $n i32) (result i64) (local $pc i32) (local $a i64) (local $b i64)
        (local.set $b (i64.const 88172645463325252))
        (loop $next
          (block $done
          (block $op5 (block $op4 (block $op3 (block $op2 (block $op1 (block $op0
            (br_table $op0 $op1 $op2 $op3 $op4 $op5 (i32.load8_u (i32.and (local.get $pc) (i32.const 15)))))
            (local.set $a (i64.add (local.get $a) (local.get $b))) (br $done))
            (local.set $b (i64.xor (local.get $b) (i64.shl (local.get $b) (i64.const 13)))) (br $done))
            (local.set $b (i64.xor (local.get $b) (i64.shr_u (local.get $b) (i64.const 7)))) (br $done))
            (local.set $a (i64.sub (local.get $a) (i64.const 3))) (br $done))
            (local.set $b (i64.xor (local.get $b) (i64.shl (local.get $b) (i64.const 17)))) (br $done))
            (local.set $a (i64.mul (local.get $a) (i64.const 5))))
          (local.set $pc (i32.add (local.get $pc) (i32.const 1)))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br_if $next (local.get $n)))
        (local.get $a))"#,
    ),
];

pub(crate) fn fuel(plan: &Plan) -> Result<Found> {
    on_the_servers_core(plan, measure)
}

fn measure(plan: &Plan) -> Result<Found> {
    (plan.say)("fuel: guests that compute, metered and not");
    let mut facts = Vec::new();
    let mut product = 1.0;
    for (name, n, text) in GUESTS {
        let mut plain = Guest::new(text, false)?;
        let mut metered = Guest::new(text, true)?;
        ensure!(
            plain.millis(*n)?.1 == metered.millis(*n)?.1,
            "{name} answers otherwise when it is metered"
        );
        let mut ratios = Series::default();
        for _ in 0..plan.rounds * plan.samples {
            let without = plain.millis(*n)?.0;
            ratios.push(metered.millis(*n)?.0 / without);
        }
        product *= ratios.median();
        let name = format!("metered over unmetered, time: {name}");
        facts.push(Fact::at_most(name, &ratios, "times", RATIO_MAX, 2));
    }
    let mut mean = Series::default();
    mean.push(f64::powf(product, 1.0 / GUESTS.len() as f64));
    let name = "metered over unmetered, time: geometric mean of these";
    facts.push(Fact::at_most(name, &mean, "times", RATIO_MAX, 2));
    Ok(Found {
        figures: Vec::new(),
        facts,
    })
}

/// A guest without a host.
struct Guest {
    store: Store<()>,
    run: TypedFunc<i32, i64>,
}

impl Guest {
    fn new(text: &str, is_metered: bool) -> Result<Guest> {
        let mut config = Config::new();
        // What decides about code is as the host has it.
        config
            .cranelift_opt_level(OptLevel::Speed)
            .cranelift_nan_canonicalization(true)
            .memory_reservation(4 << 30)
            .memory_guard_size(32 << 20)
            .consume_fuel(is_metered);
        if is_metered {
            config.operator_cost(operator_costs());
        }
        let engine = Engine::new(&config).map_err(of_engine)?;
        let module =
            Module::new(&engine, wat::parse_str(format!("(module {text})"))?).map_err(of_engine)?;
        let mut store = Store::new(&engine, ());
        if is_metered {
            store.set_fuel(u64::MAX / 2).map_err(of_engine)?;
        }
        let instance = Instance::new(&mut store, &module, &[]).map_err(of_engine)?;
        let run = instance
            .get_typed_func(&mut store, "run")
            .map_err(of_engine)?;
        Ok(Guest { store, run })
    }

    /// One run of it: how long it took, and what it gave.
    fn millis(&mut self, n: i32) -> Result<(f64, i64)> {
        let began = Instant::now();
        let answer = self.run.call(&mut self.store, n).map_err(of_engine)?;
        Ok((began.elapsed().as_secs_f64() * 1_000.0, answer))
    }
}

/// The engine's errors are none of the standard library's.
fn of_engine(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}
