//! What a guest is told of by itself, beyond upgrades: looks at updates, the server's stop, little
//! memory. Which limit each has, and what each may do.

use corelet_wasm_host::{Hook, Instance};

use super::*;

/// A page.
const PAGE: u64 = 1 << 16;

/// Its call takes another page; `low-memory` logs a line, and `inspect` refuses what is longer than two
/// bytes.
const GUEST: &str = r#"
(func $call (param i32 i32 i32 i32) (result i32)
  (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
  (call $ok-null))
(func (export "inspect") (param i32 i32 i32) (param $length i32) (result i32)
  (if (i32.gt_u (local.get $length) (i32.const 2)) (then
    (return (call $err (i32.const 272) (i32.const 4)))))
  (call $ok-null))
(func (export "stop") (result i32)
  (call $set (i32.const 256) (i32.const 5) (i32.const 272) (i32.const 4))
  (call $ok-null))
(func (export "low-memory") (result i32)
  (call $write (i32.const 2) (i32.const 256) (i32.const 5))
  (call $ok-null))
"#;

fn inspect(args: &str) -> Turn {
    Turn {
        entry: Entry::Inspect {
            method: "run".into(),
        },
        ..update(args, MapState::default())
    }
}

fn tell(hook: Hook) -> Turn {
    Turn {
        entry: Entry::Hook(hook),
        ..update("", MapState::default())
    }
}

fn run_in(instance: Instance, turn: Turn) -> Finished {
    finish(instance.run(turn))
}

fn loaded(host: &Host, guest: &str) -> Arc<Module> {
    host.load(&guest::assemble(guest))
        .unwrap_or_else(|refused| panic!("{refused}"))
}

#[test]
fn an_update_is_looked_at_by_who_exports_it_and_by_nobody_else() {
    let host = host();
    let module = loaded(&host, GUEST);
    assert!(module.inspects());
    let finished = run_in(module.instantiate().unwrap(), inspect("{}"));
    assert_eq!(output(&finished), "null");
    let used = finished.instance.expect("it is as good as before");
    let finished = run_in(used, inspect("{ }"));
    let Err(Failure::Application { error }) = &finished.outcome else {
        panic!("{:?}", finished.outcome);
    };
    assert_eq!(error, b"null");
    assert!(finished.instance.is_some(), "a refusal spoils nothing");

    let module = load(&host, "echo");
    assert!(!module.inspects());
    for hook in [Hook::Stop, Hook::LowMemory] {
        assert!(!module.has_hook(hook));
    }
    let finished = run_in(module.instantiate().unwrap(), inspect("{}"));
    assert!(finished.instance.is_some(), "nothing is wrong with it");
    let why = failure(finished).to_string();
    assert!(why.contains("`inspect`"), "{why}");
}

/// Of these three only the one that tells of the stop may write.
#[test]
fn each_has_its_own_fuel_and_none_but_stop_may_write() {
    let host = host();
    for (export, entry, limit, may_write) in [
        ("inspect", inspect("{}").entry, "inspect_fuel_max", false),
        ("stop", tell(Hook::Stop).entry, "stop_fuel_max", true),
        (
            "low-memory",
            tell(Hook::LowMemory).entry,
            "low_memory_fuel_max",
            false,
        ),
    ] {
        let parameters = match export {
            "inspect" => "(param i32 i32 i32 i32)",
            _ => "",
        };
        let guest = |body: &str| {
            format!(
                "(func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))
                 (func (export \"{export}\") {parameters} (result i32) {body})"
            )
        };
        let turn = || Turn {
            entry: entry.clone(),
            fuel_max: 100_000,
            ..update("{}", MapState::default())
        };
        let endless = loaded(&host, &guest("(loop $again (br $again)) unreachable"));
        let finished = run_in(endless.instantiate().unwrap(), turn());
        match failure(finished) {
            Failure::OutOfFuel { limit: named, max } => {
                assert_eq!((named, max), (limit, 100_000));
            }
            other => panic!("{export}: {other}"),
        }
        let writing = loaded(
            &host,
            &guest(
                "(call $set (i32.const 256) (i32.const 5) (i32.const 272) (i32.const 4))
                 (call $ok-null)",
            ),
        );
        let finished = run_in(writing.instantiate().unwrap(), turn());
        match may_write {
            true => assert_eq!(output(&finished), "null"),
            false => assert!(matches!(failure(finished), Failure::WroteInQuery)),
        }
    }
}

#[test]
fn an_instance_is_low_on_memory_whenever_it_has_grown_beyond_its_share() {
    let host = host_with(Limits {
        memory_bytes_max: 8 * PAGE,
        low_memory_share: 50,
        ..Limits::default()
    });
    let module = loaded(&host, GUEST);
    let mut instance = module.instantiate().unwrap();
    let grow = |mut instance: Instance, pages: u64| {
        while instance.memory_bytes() < pages * PAGE {
            let finished = run_in(instance, update("{}", MapState::default()));
            instance = finished.instance.expect("it has room");
        }
        instance
    };
    instance = grow(instance, 4);
    assert!(
        !instance.is_low_on_memory(),
        "half of it is no more than half"
    );
    instance = grow(instance, 5);
    assert!(instance.is_low_on_memory());
    let finished = run_in(instance, tell(Hook::LowMemory));
    assert_eq!(finished.logs.len(), 1);
    instance = finished.instance.expect("it is still good");
    assert!(!instance.is_low_on_memory(), "it knows");
    let finished = run_in(instance, query("{}", MapState::default()));
    instance = finished.instance.expect("it has room");
    assert!(instance.is_low_on_memory(), "it has grown since");

    // Whoever does not want to know is never told.
    let module = loaded(
        &host,
        &GUEST.replace("(func (export \"low-memory\")", "(func $nobody"),
    );
    let instance = grow(module.instantiate().unwrap(), 7);
    assert!(!instance.is_low_on_memory());
}

#[test]
fn a_hook_of_another_type_is_no_application_s() {
    let host = host();
    let plain = "(func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))";
    let good = guest::text(&format!(
        "{plain} (func (export \"stop\") (result i32) (call $ok-null))"
    ));
    let bad = good.replace(
        "(func (export \"stop\")  (result (result",
        "(func (export \"inspect\") (result (result",
    );
    assert_ne!(good, bad, "the frame is another");
    let bad = wat::parse_str(bad).unwrap();
    let refused = host.load(&bad).expect_err("it takes nothing");
    assert!(refused.to_string().contains("inspect"), "{refused}");
}
