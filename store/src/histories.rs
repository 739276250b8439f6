//! Histories that tests make up: as many as `CORELET_HISTORIES` says, from the seed that
//! `CORELET_SEED` gives, in hexadecimal, or a new one, which is told: the same seed makes up the same ones.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Tries so many histories, if nobody says how many.
#[track_caller]
pub(crate) fn try_histories<S: Strategy>(
    histories: u32,
    history: S,
    check: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let cases = match std::env::var("CORELET_HISTORIES") {
        Ok(number) => number.parse().expect("CORELET_HISTORIES is a number"),
        Err(_) => histories,
    };
    let seed = match std::env::var("CORELET_SEED") {
        Ok(text) => {
            let digits = text.trim_start_matches("0x");
            u64::from_str_radix(digits, 16).expect("CORELET_SEED must be hexadecimal")
        }
        Err(_) => getrandom::u64().expect("Linux gives random bytes"),
    };
    println!("seed {seed:#x} (CORELET_SEED repeats it)");
    if let Err(error) = runner(cases, seed).run(&history, check) {
        panic!("{error}\nCORELET_SEED={seed:#x} CORELET_HISTORIES={cases} repeats it");
    }
    println!("{cases} histories");
}

/// One that makes up the same from the same seed.
fn runner(cases: u32, seed: u64) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let seed = blake3::hash(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, seed.as_bytes());
    TestRunner::new_with_rng(config, random)
}

#[test]
fn the_same_seed_makes_up_the_same_histories() {
    let made_up = |seed| {
        let all = std::cell::RefCell::new(Vec::new());
        let note = |history| {
            all.borrow_mut().push(history);
            Ok(())
        };
        let history = prop::collection::vec(any::<u64>(), 0..9);
        runner(20, seed).run(&history, note).unwrap();
        all.into_inner()
    };
    assert_eq!(made_up(7).len(), 20);
    assert_eq!(made_up(7), made_up(7));
    assert_ne!(made_up(7), made_up(8));
}
